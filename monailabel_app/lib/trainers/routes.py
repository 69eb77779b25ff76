"""POST /train/{model}, refused at once where it could only fail later, and never on the event loop."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from monailabel.config import settings
from monailabel.endpoints.train import run_model
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.utils.app import app_instance

from lib.refusals import answered_as_http
from lib.trainers.options import TrainOptions


def check_training(model: str, params: dict[str, Any] | None = None) -> None:
    """Refuse what MONAI Label would start a process for, that then fails where nobody looks.

    Raises:
        HTTPException: 404 no such trainer, 400 impossible options.
    """
    trainers = app_instance()._trainers
    if model not in trainers:
        raise HTTPException(404, f"No trainer {model!r}; there are: {', '.join(sorted(trainers)) or 'none'}.")
    with answered_as_http():
        TrainOptions.from_request(params or {})


def start_training(
    model: str,
    params: dict[str, Any] | None = None,
    run_sync: bool | None = False,
    enqueue: bool | None = False,
) -> Any:  # noqa: ANN401 - what MONAI Label answers
    """Start training as MONAI Label does; with `run_sync` in a thread of the server."""
    check_training(model, params)
    return run_model(model, params, run_sync, enqueue)


def train_off_the_event_loop(server: FastAPI) -> None:
    """Put our route before MONAI Label's own, whose coroutine blocks the whole server while `run_sync` trains.

    Args:
        server: MONAI Label's ASGI app.
    """
    router = APIRouter(prefix=settings.MONAI_LABEL_API_STR)
    router.add_api_route(
        "/train/{model}",
        start_training,
        methods=["POST"],
        dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))],
        include_in_schema=False,  # the route it replaces documents it
    )
    server.router.routes[:0] = router.routes
