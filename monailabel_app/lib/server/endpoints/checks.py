"""Checks before MONAI Label's own endpoints, which would fail on such requests."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import Depends, File, Form, UploadFile
from monailabel.endpoints import activelearning, datastore, infer, wsi_infer
from monailabel.interfaces.utils.app import app_instance

from lib.infers.device_queue import remember_client
from lib.refusals import InvalidRequestError, TooLargeError, UnknownNameError, named
from lib.request_values import read_object
from lib.server.endpoints.sessions import check_session_id
from lib.studies.scan_list import check_name
from strokelabel.errors import StrokeLabelError
from strokelabel.io.images import read_image_header

_NRRD_HEADER_BYTES = 2**16
_MOST_NRRD_BYTES = 2**32
_DETACHED = re.compile(rb"^data ?file:", re.MULTILINE | re.IGNORECASE)
_SIZES = re.compile(rb"^sizes:([ \d]+)$", re.MULTILINE)


def infer_request(
    model: str,
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    label: Annotated[UploadFile | None, File()] = None,
    output: infer.ResultType | None = None,
) -> None:
    """Check POST /infer/{model}."""
    named(app_instance()._infers, model, "model")
    options = read_object(params, "params")
    if options.get("model", model) != model:
        raise InvalidRequestError(f"model: expected {model!r}, as in the address, found another in params.")
    _something_to_segment(image, session_id, file)
    if output is infer.ResultType.dicom_seg and "://" not in app_instance().studies:
        raise InvalidRequestError(
            "output: DICOM SEG is only made of scans on a DICOMweb server; ask for image."
        )
    for upload in (file, label):
        check_upload(upload)
    if label and (label.filename or "").lower().endswith(".bin"):
        _fits(label, image)


def slide_request(
    model: str,
    image: str = "",
    session_id: str = "",
    file: Annotated[UploadFile | None, File()] = None,
    wsi: Annotated[str, Form()] = "{}",
) -> None:
    """Check POST /infer/wsi_v2/{model}."""
    named(app_instance()._infers, model, "model")
    read_object(wsi, "wsi")
    _something_to_segment(image, session_id, file)
    check_upload(file)


def old_slide_request(model: str, image: str = "", session_id: str = "") -> None:
    """Check POST /infer/wsi/{model}."""
    named(app_instance()._infers, model, "model")
    _something_to_segment(image, session_id, None)


def image_upload(file: Annotated[UploadFile, File()], params: Annotated[str, Form()] = "{}") -> None:
    """Check PUT /datastore/image."""
    _check_strategy(read_object(params, "params"))
    check_upload(file)


def label_upload(
    image: str, label: Annotated[UploadFile, File()], params: Annotated[str, Form()] = "{}"
) -> None:
    """Check PUT /datastore/label."""
    read_object(params, "params")
    check_upload(label)


def info_update(info: Annotated[str, Form()] = "{}") -> None:
    """Check PUT /datastore/image/info and /datastore/label/info."""
    _check_strategy(read_object(info, "info"))


def old_info_update(params: Annotated[str, Form()] = "{}") -> None:
    """Check PUT /datastore/updatelabelinfo."""
    read_object(params, "params")


def sample_request(strategy: str, params: dict[str, Any] | None = None) -> None:
    """Check POST /activelearning/{strategy}."""
    named(app_instance()._strategies, strategy, "strategy")
    params = params or {}
    if params.get("strategy", strategy) != strategy:
        raise InvalidRequestError(f"strategy: expected {strategy!r}, as in the address, found another.")
    if params.get("label_tag"):
        check_name(params["label_tag"], "label_tag")
    labels = params.get("labels")
    if labels and not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        raise InvalidRequestError("labels: expected a list of names, found something else.")
    if not isinstance(params.get("client_id", ""), str):
        raise InvalidRequestError("client_id: expected a name, found something else.")


def check_upload(upload: UploadFile | None) -> None:
    """Refuse an upload by its name or header before anything is copied or allocated.

    NIfTI headers are checked where they are read (`strokelabel.io`). A NRRD header may name another file of the
    server as the place of its voxels.

    Raises:
        InvalidRequestError, TooLargeError, HeaderError: saying why.
    """
    if upload is None:
        return
    suffix = "".join(Path(upload.filename or "").suffixes)
    if len(suffix.encode("utf-8", "replace")) > 100 or not suffix.isprintable() or "\\" in suffix:
        raise InvalidRequestError("file: expected a file name with a short suffix such as .nii.gz.")
    if suffix.lower().endswith(".nrrd"):
        check_nrrd_header(upload.file)


def check_nrrd_header(file: BinaryIO) -> None:
    """Refuse NRRD files whose voxels are elsewhere, or too many; the position in the file is kept.

    Raises:
        InvalidRequestError, TooLargeError: saying why.
    """
    start = file.tell()
    header = file.read(_NRRD_HEADER_BYTES).partition(b"\n\n")[0].replace(b"\r", b"")
    file.seek(start)
    if _DETACHED.search(header):
        raise InvalidRequestError(
            "file: expected a NRRD file that contains its voxels, found one with a detached data file."
        )
    sizes = _SIZES.search(header)
    if sizes and math.prod(int(size) for size in sizes[1].split()[:16]) > _MOST_NRRD_BYTES:
        raise TooLargeError(
            "file: expected as many voxels as a head scan has, found more in the NRRD header."
        )


def _something_to_segment(image: str, session_id: str, file: UploadFile | None) -> None:
    check_session_id(session_id)
    if not (image or session_id or file):
        raise InvalidRequestError("image: expected an image id, a session_id or a file, found none of them.")


def _fits(label: UploadFile, image: str) -> None:
    """Refuse voxels without a header (OHIF's strokes) that are not as many as the image's."""
    uri = app_instance().datastore().get_image_uri(image) if image else ""
    if not uri:
        raise UnknownNameError(f"No image {image!r} in this datastore, so raw voxels cannot be placed.")
    try:
        voxels = math.prod(read_image_header(uri).grid.shape)
    except StrokeLabelError as error:
        raise InvalidRequestError(
            f"label: the image {image!r} cannot be read, so strokes cannot be placed."
        ) from error
    if label.size != voxels:
        raise InvalidRequestError(f"label: expected {voxels} bytes, one for each voxel, found {label.size}.")


def _check_strategy(info: dict[str, Any]) -> None:
    """Refuse information about strategies that the next request for a sample could not read."""
    strategy = info.get("strategy", {})
    if not isinstance(strategy, dict) or not all(isinstance(entry, dict) for entry in strategy.values()):
        raise InvalidRequestError("strategy: expected an object of objects, found something else.")


BEFORE: dict[Callable[..., Any], Callable[..., None]] = {
    infer.api_run_inference: infer_request,
    wsi_infer.api_run_wsi_v2_inference: slide_request,
    wsi_infer.api_run_wsi_inference: old_slide_request,
    datastore.api_add_image: image_upload,
    datastore.api_save_label: label_upload,
    datastore.api_put_image_info: info_update,
    datastore.api_put_label_info: info_update,
    datastore.api_update_label_info: old_info_update,
    activelearning.api_sample: sample_request,
}
"""Checks by the endpoint of MONAI Label that they precede."""


MAY_WAIT = (infer.api_run_inference, wsi_infer.api_run_wsi_v2_inference, wsi_infer.api_run_wsi_inference)
"""Endpoints whose work waits for its turn, unless the client has gone."""


def before(endpoint: Any) -> list[Any]:  # noqa: ANN401 - an endpoint; a list of dependencies
    """Return the dependencies of one endpoint."""
    checks = [Depends(BEFORE[endpoint])] if endpoint in BEFORE else []
    return [*checks, Depends(remember_client)] if endpoint in MAY_WAIT else checks
