"""`POST /infer/{model}?output=dicom_seg`: the answer as DICOM SEG.

MONAI Label's own runs a program that it downloads, and codes every segment as spleen.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import BackgroundTasks
from fastapi.responses import FileResponse
from monailabel.endpoints.infer import ResultType
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import remove_file

from lib.dicomweb.pacs_datastore import DicomWebDatastore
from lib.refusals import InvalidRequestError, answered_as_http

Endpoint = Callable[..., Any]


def answering_dicom_seg(endpoint: Endpoint) -> Endpoint:
    """Wrap MONAI Label's inference endpoint, with our DICOM SEG for `output=dicom_seg`.

    Args:
        endpoint: `monailabel.endpoints.infer.run_inference`; called with keywords, as FastAPI does.
    """

    @functools.wraps(endpoint)
    def answer(**request: Any) -> Any:  # noqa: ANN401 - what the endpoint takes and gives
        if request.get("output") != ResultType.dicom_seg:
            return endpoint(**request)
        with answered_as_http():
            store = _datastore(request)
            result = endpoint(**{**request, "output": ResultType.image})
            names = app_instance().info()["models"][request["model"]]["labels"]
            return _as_seg(store, request["image"], Path(result.path), names, request["background_tasks"])

    return answer


def _datastore(request: dict[str, Any]) -> DicomWebDatastore:
    store = app_instance().datastore()
    if not isinstance(store, DicomWebDatastore) or not request.get("image") or request.get("file"):
        raise InvalidRequestError(
            "output: dicom_seg expects an image of a DICOMweb server, whose series the SEG can refer to; "
            "ask for image instead."
        )
    return store


def _as_seg(
    store: DicomWebDatastore, image: str, mask: Path, names: dict[str, int], tasks: BackgroundTasks
) -> FileResponse:
    descriptor, path = tempfile.mkstemp(suffix=".dcm")
    os.close(descriptor)
    tasks.add_task(remove_file, path)
    try:
        store.write_seg(Path(path), image, mask, {"params": {"label_names": names}})
    except Exception:
        for file in (path, str(mask)):
            remove_file(file)
        raise
    return FileResponse(path, media_type="application/dicom", filename=f"{image}.dcm")
