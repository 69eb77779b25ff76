"""Routes that the app puts before MONAI Label's own while the server starts."""

from __future__ import annotations

import json

from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException
from monailabel.config import settings
from monailabel.endpoints.infer import run_inference
from monailabel.endpoints.user.auth import RBAC

from lib.dicomweb.route import answering_dicom_seg


def params_are_an_object(params: str = Form("{}")) -> None:
    """Refuse options that are not a JSON object before the endpoint trips over them.

    Raises:
        HTTPException: 400.
    """
    try:
        valid = isinstance(json.loads(params or "{}"), dict)
    except ValueError:
        valid = False
    if not valid:
        raise HTTPException(400, "params: expected a JSON object of options, found something else.")


def infer_off_the_event_loop(server: FastAPI) -> None:
    """Serve /infer/{model} by MONAI Label's own function, in a worker thread.

    MONAI Label wraps that function in a coroutine, so that the whole server waits while one image is
    segmented. Registered as it is, FastAPI runs it in a thread, and /info/ answers meanwhile.

    Args:
        server: MONAI Label's ASGI app; the route is put first, because the first that matches is served.
    """
    router = APIRouter(prefix=settings.MONAI_LABEL_API_STR)
    may_infer = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
    router.add_api_route(
        "/infer/{model}",
        answering_dicom_seg(run_inference),
        methods=["POST"],
        dependencies=[may_infer, Depends(params_are_an_object)],
        include_in_schema=False,  # the route it replaces documents it
    )
    server.router.routes[:0] = router.routes
