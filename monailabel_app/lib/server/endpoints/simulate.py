"""POST /simulate: a picture of the sample head by a sequence and its parameters.

It is no infer task: those answer about a scan of the datastore, with a file on its grid, and wait for their turn behind
segmentations. This one answers a small picture with its numbers, while a slider is dragged.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC

from lib.infers.device_queue import remember_client
from lib.infers.simulation import Simulator
from lib.refusals import answered_as_http


def simulation_routes() -> APIRouter:
    """Return the route; /info/ says what it takes."""
    router = APIRouter(prefix=settings.MONAI_LABEL_API_STR, tags=["Simulate"])
    user = [Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER)), Depends(remember_client)]
    simulator = Simulator()

    @router.post("/simulate", summary="Picture of the sample head by a sequence", dependencies=user)
    def simulate(request: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        """Return the picture (PNG, base64), the equation, and values and signals of the tissues."""
        with answered_as_http():
            return simulator.answer(request)

    return router
