"""POST /batch/infer/{model}, refused at once where it could only fail later, and never on the event loop."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from monailabel.config import settings
from monailabel.endpoints.batch_infer import run
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType
from monailabel.interfaces.utils.app import app_instance

from lib.batch.request import BatchRequest
from lib.checked_app import named
from lib.infers.options import InferOptions
from lib.refusals import answered_as_http


def check_batch(model: str, images: object = None, params: dict[str, Any] | None = None) -> None:
    """Refuse what MONAI Label would start a process for, that then fails where nobody looks.

    Raises:
        HTTPException: 404 no such model or image, 400 impossible options.
    """
    app = app_instance()
    with answered_as_http():
        named(app._infers, model, "model")
        batch = BatchRequest.from_request({"images": images, **(params or {}), "model": model})
        batch.choose(app.datastore())
        InferOptions.from_request(batch.options)


def start_batch(
    model: str,
    images: BatchInferImageType | None = BatchInferImageType.IMAGES_ALL,
    params: dict[str, Any] | None = None,
    run_sync: bool | None = False,
) -> Any:  # noqa: ANN401 - what MONAI Label answers
    """Label many scans as MONAI Label does, in a process of its own; with `run_sync` in a thread of the server.

    Raises:
        HTTPException: as `check_batch`; 429 a batch is running.
    """
    check_batch(model, images, params)
    return run(model, images, {**(params or {}), "model": model}, run_sync)


def batch_off_the_event_loop(server: FastAPI) -> None:
    """Put our route before MONAI Label's own, whose coroutine blocks the whole server while `run_sync` works.

    Args:
        server: MONAI Label's ASGI app.
    """
    router = APIRouter(prefix=settings.MONAI_LABEL_API_STR)
    router.add_api_route(
        "/batch/infer/{model}",
        start_batch,
        methods=["POST"],
        dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))],
        include_in_schema=False,  # the route it replaces documents it
    )
    server.router.routes[:0] = router.routes
