"""What a batch is refused for at once, where it could only fail later."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.utils.app import app_instance

from lib.batch.request import BatchRequest
from lib.infers.options import InferOptions
from lib.refusals import answered_as_http, named


def check_batch(model: str, images: object = None, params: dict[str, Any] | None = None) -> None:
    """Refuse what MONAI Label would start a process for, that then fails where nobody looks.

    Raises:
        HTTPException: 404 no such model or image, 400 impossible options.
    """
    app = app_instance()
    with answered_as_http():
        task = named(app._infers, model, "model")
        batch = BatchRequest.from_request({"images": images, **(params or {}), "model": model})
        batch.choose(app.datastore())
        getattr(task, "options_of", InferOptions.from_request)(batch.options)
