"""Endpoints that hand out files, or are asked to take them: images by checksum, the data set, models, pages."""

from __future__ import annotations

import json
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import BackgroundTasks, Query
from fastapi.responses import FileResponse, PlainTextResponse, Response
from monailabel import endpoints
from monailabel.endpoints import datastore, logs, model, ohif
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import file_checksum, get_mime_type, remove_file

from lib.places import log_folder
from lib.refusals import ForbiddenError, InvalidRequestError, UnknownNameError, named
from lib.server.logs import LOG_NAME, last_lines

_ALGORITHMS = ("SHA256", "SHA512", "MD5")
_OHIF = Path(endpoints.__file__).parent / "static" / "ohif"


def check_image(image: str, check_sum: str | None = None) -> dict[str, Any]:
    """Return whether an image exists, and has this checksum: "ALGORITHM:DIGEST", or a SHA256 alone."""
    path = _nifti_of(image)
    if check_sum:
        algorithm, _, digest = check_sum.rpartition(":")
        algorithm = (algorithm or "SHA256").upper()
        if algorithm not in _ALGORITHMS:
            raise InvalidRequestError(f"check_sum: expected one of {', '.join(_ALGORITHMS)}, found another.")
        found = file_checksum(path, algo=algorithm).rpartition(":")[2]
        if digest.lower() != found.lower():
            raise UnknownNameError(f"The image {image!r} has another checksum.")
    return {}


def download_image(image: str) -> FileResponse:
    """Return an image: its file, or a copy in NIfTI where it is in a format that not every viewer reads."""
    path = _nifti_of(image)
    return FileResponse(path, media_type=get_mime_type(path), filename=Path(path).name)


def _nifti_of(image: str) -> str:
    store = app_instance().datastore()
    path = _nifti_uri(store, image)
    if not path or not Path(path).is_file():
        raise UnknownNameError(f"No image {image!r} in this datastore.")
    return path


def _nifti_uri(store: Any, image: str) -> str:  # noqa: ANN401 - any datastore
    """Return the path of an image in NIfTI; other datastores than the studies folder hold nothing else."""
    return str(store.nifti_uri(image) if hasattr(store, "nifti_uri") else store.get_image_uri(image))


def download_dataset(background_tasks: BackgroundTasks, limit_cases: int | None = None) -> FileResponse:
    """Return a ZIP of the images that have a final label, the labels, and the information about them."""
    store = app_instance().datastore()
    ids = sorted(store.get_labeled_images())
    if not ids:
        raise UnknownNameError("No image has a final label yet: there is nothing to download.")
    if limit_cases is not None and limit_cases < 1:
        raise InvalidRequestError(f"limit_cases: expected a number above 0, found {limit_cases}.")
    with tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as file:
        background_tasks.add_task(remove_file, file.name)
        try:
            with zipfile.ZipFile(file, "w") as archive:
                for image_id in ids[:limit_cases]:
                    for kind, uri in _pair(store, image_id).items():
                        archive.write(uri, f"{kind}/{image_id}{_suffix(uri)}")
                archive.writestr("metadata.json", json.dumps(store.json(), default=str))
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return FileResponse(file.name, media_type="application/zip", filename="dataset.zip")


def get_logs(lines: Annotated[int, Query(ge=1, le=10_000)] = 300) -> PlainTextResponse:
    """Return the last lines of the server's log, as JSON lines."""
    app = app_instance()
    return PlainTextResponse(last_lines(log_folder(app.app_dir, app.labels_folder) / LOG_NAME, lines))


def gpu_info() -> PlainTextResponse:
    """Return the output of nvidia-smi."""
    try:
        done = subprocess.run(["nvidia-smi"], capture_output=True, timeout=20, check=True, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise UnknownNameError("There is no NVIDIA GPU here, or its nvidia-smi does not answer.") from error
    return PlainTextResponse(done.stdout)


def update_model(model: str) -> None:
    """Refuse: weights come from training here, or from the server's owner."""
    named(app_instance()._infers, model, "model")
    raise ForbiddenError(
        f"The weights of {model!r} cannot be replaced through the server; its owner can start it with "
        "--conf model FILE.safetensors, and POST /train/segment makes and activates new versions."
    )


def delete_model(model: str) -> None:
    """Refuse, like `update_model`; going back to the version before is an action of the train task."""
    named(app_instance()._infers, model, "model")
    raise ForbiddenError(
        f"The weights of {model!r} cannot be deleted through the server; POST /train/segment with "
        '{"action": "rollback"} goes back to the version before.'
    )


def reload() -> None:
    """Refuse: it would drop the app while others work with it."""
    raise ForbiddenError("The app cannot be reloaded through the server; its owner can restart it.")


def ohif_page(path: str) -> Response:
    """Return a file of the OHIF viewer; its start page for every other address below it."""
    file = (_OHIF / path).resolve()
    if not (file.is_relative_to(_OHIF.resolve()) and file.is_file()):
        file = _OHIF / "index.html"
    if not file.is_file():
        raise UnknownNameError("The OHIF viewer is not part of this installation.")
    return FileResponse(file, media_type=get_mime_type(str(file)))


def _pair(store: Any, image_id: str) -> dict[str, str]:  # noqa: ANN401 - any datastore
    pair = {"image": _nifti_uri(store, image_id), "label": store.get_label_uri(image_id, "final")}
    return pair if all(uri and Path(uri).is_file() for uri in pair.values()) else {}


def _suffix(path: str) -> str:
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


INSTEAD_OF: dict[Callable[..., Any], Callable[..., Any]] = {
    datastore.api_check_image: check_image,
    datastore.api_download_image: download_image,
    datastore.api_download_dataset: download_dataset,
    logs.api_get_logs: get_logs,
    logs.gpu_info: gpu_info,
    model.api_update_model: update_model,
    model.api_delete_model: delete_model,
    ohif.api_get_ohif: ohif_page,
}
"""Endpoint of MONAI Label that each replaces."""
