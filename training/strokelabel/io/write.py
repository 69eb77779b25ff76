"""Writing results onto a scan's own grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike

from strokelabel.errors import DimensionError, OutputError
from strokelabel.geometry import Grid
from strokelabel.geometry.same_grid import corner_distance_mm, rounding_mm
from strokelabel.io.atomic import atomic_path
from strokelabel.io.images import Image
from strokelabel.io.nifti import NIFTI_SUFFIXES, is_nifti_name
from strokelabel.types import PathLike

_DESCRIPTION_BYTES = 79
_SCANNER = 1


def write_nifti(
    path: PathLike, data: np.ndarray, like: Image, dtype: DTypeLike, description: str = ""
) -> None:
    """Write a volume with the geometry of the image it was computed from, atomically.

    Shape, affine, sform, qform and both codes are those of `like`; scale factors, display range and header
    extensions (which may name the patient) are not taken over.

    Args:
        path: .nii or .nii.gz.
        data: (i, j, k) on the grid of `like`.
        like: the input image.
        dtype: type in the file; values must survive the conversion to it.
        description: at most 79 bytes for the header.

    Raises:
        DimensionError: the shape is not that of `like`.
        OutputError: the name is not NIfTI's, the type cannot hold the values, or the file cannot be written.
    """
    path = Path(path)
    if not is_nifti_name(path):
        raise OutputError(
            f"expected a name ending in {' or '.join(NIFTI_SUFFIXES)}; rename the output.", source=path
        )
    if data.shape != like.data.shape:
        raise DimensionError(
            f"expected data of shape {like.data.shape}, that of {like.source}, found {data.shape}; "
            "bring it back to the image's grid first.",
            source=path,
        )
    values = _convert(data, np.dtype(dtype), path)
    image = _image_on_grid(values, like)
    image.header["descrip"] = _cut(description)
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def _cut(description: str) -> bytes:
    """Cut a description to what fits the header, without half a character at its end."""
    return description.encode()[:_DESCRIPTION_BYTES].decode(errors="ignore").encode()


def _convert(data: np.ndarray, dtype: np.dtype, path: Path) -> np.ndarray:
    """Convert the data to the wanted type, and refuse values that would be wrapped, cut or rounded."""
    try:
        nib.Nifti1Header().set_data_dtype(dtype)
    except nib.spatialimages.HeaderDataError as error:
        raise OutputError(
            f"expected a type that NIfTI knows, found {dtype}; use uint8 or float32.", source=path
        ) from error
    with np.errstate(invalid="ignore", over="ignore"):
        values = np.ascontiguousarray(data, dtype=dtype)
    if dtype.kind in "iu" and not np.array_equal(values, data):
        raise OutputError(
            f"expected whole numbers that fit {dtype}, found {data.min():g} to {data.max():g}; "
            "round them, or write float32.",
            source=path,
        )
    return values


def _image_on_grid(values: np.ndarray, like: Image) -> nib.Nifti1Image:
    if like.header is None:
        return _image_from_affine(values, like)
    header = like.header.copy()
    header.extensions.clear()
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header.set_intent("none")
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    for name in ("aux_file", "db_name"):  # free text; NIfTI-2 has only the first
        if name in header.keys():  # noqa: SIM118 - headers are not mappings
            header[name] = b""
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    return kind(values, None, header)  # no affine: both forms and their codes stay as they are in the header


def _image_from_affine(values: np.ndarray, like: Image) -> nib.Nifti1Image:
    """Return an image for data without a NIfTI header: both forms set; a sheared grid fits the sform only."""
    image = nib.Nifti1Image(values, like.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(like.affine, code=_SCANNER)
    image.set_qform(like.affine, code=_SCANNER)
    if corner_distance_mm(Grid(like.grid.shape, image.get_qform()), like.grid) > rounding_mm(like.grid):
        image.header["qform_code"] = 0
    return image
