"""POST /train/{model}, refused at once where it could only fail later."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException
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
