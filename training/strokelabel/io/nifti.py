"""Reading NIfTI files, distrusting their headers until they are checked."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import NamedTuple, TypeAlias

import nibabel as nib
import numpy as np

from strokelabel.errors import LabelMapError, UnreadableImageError
from strokelabel.geometry import Grid
from strokelabel.io.checks import check_number_type, check_shape
from strokelabel.io.file_kinds import what_it_is
from strokelabel.io.nifti_space import (
    affine_in_mm,
    check_agreement,
    check_voxel_sizes,
    orientation_notes,
    repair_transforms,
)
from strokelabel.types import Affine

NIFTI_SUFFIXES = (".nii", ".nii.gz")

_Image: TypeAlias = nib.Nifti1Image | nib.Nifti2Image

_GZIP_MAGIC = b"\x1f\x8b"
_BEST_DEFLATE_RATIO = 1040
"""Deflate cannot compress better than about 1032 to 1 (zlib's technical notes)."""

_IMAGE_TYPES: dict[int, type[_Image]] = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
"""By length of the header in bytes, which is its first field."""

_READ_ERRORS = (
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    OverflowError,
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    nib.spatialimages.ImageDataError,
)


class NiftiVolume(NamedTuple):
    """Data (i, j, k), affine (4, 4) to RAS mm, the file's header, and notes for the user."""

    data: np.ndarray
    affine: Affine
    header: nib.Nifti1Header
    notes: tuple[str, ...]


def is_nifti_name(path: Path) -> bool:
    """Return whether a file name ends like a NIfTI file's."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def read_nifti(path: Path, dtype: type[np.float32] | type[np.int32]) -> NiftiVolume:
    """Read a NIfTI file, checking all that its header says before memory is allocated for the voxels.

    Args:
        path: an existing .nii or .nii.gz file.
        dtype: float32 for scans; int32 for labels, which must then be whole numbers.

    Raises:
        UnreadableImageError, DimensionError, EmptyImageError, HeaderError, LabelMapError: see
            `strokelabel.errors`. The values are not judged.
    """
    try:
        image_type = _image_type(path)
        header, shape, repairs = _check_header(path, image_type)
        with _silent_nibabel():
            content = _content(path, header)
            image = image_type.from_bytes(header.binaryblock + content[len(header.binaryblock) :])
        affine, unit_notes = affine_in_mm(image.header, image.affine, shape, str(path))
        check_agreement(header, str(path))
        data = _whole_numbers(image, path) if dtype is np.int32 else _single_precision(image)
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from error
    notes = repairs + unit_notes + orientation_notes(image.header, shape)
    return NiftiVolume(data.reshape(shape), affine, image.header, notes)


def read_grid(path: Path) -> Grid:
    """Return the shape and affine of a NIfTI file by its header alone, which is checked as in `read_nifti`.

    Raises:
        UnreadableImageError, DimensionError, EmptyImageError, HeaderError: see `strokelabel.errors`.
    """
    try:
        header, shape, _ = _check_header(path, _image_type(path))
        with _silent_nibabel():
            affine, _ = affine_in_mm(header, header.get_best_affine(), shape, str(path))
        check_agreement(header, str(path))
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from error
    return Grid(shape, affine)


def _image_type(path: Path) -> type[_Image]:
    block = _first_bytes(path, 4)
    sizes = {int.from_bytes(block, "little"), int.from_bytes(block, "big")}
    for size, image_type in _IMAGE_TYPES.items():
        if size in sizes:
            return image_type
    raise ValueError("it does not begin with a NIfTI header")


def _check_header(
    path: Path, image_type: type[_Image]
) -> tuple[nib.Nifti1Header, tuple[int, int, int], tuple[str, ...]]:
    """Return the header with its repairs, the volume's shape, and a note for each field that is repaired."""
    kind = image_type.header_class
    size = kind.template_dtype.itemsize
    block = _first_bytes(path, size)
    if len(block) < size:
        raise ValueError(f"its header ends after {len(block)} of {size} bytes")
    header = kind(block, check=False)
    shape = check_shape(header.get_data_shape(), str(path))
    if int(header["datatype"]) not in nib.nifti1.data_type_codes.dtype:
        raise ValueError(f"its header announces voxels of unknown type {int(header['datatype'])}")
    check_number_type(header.get_data_dtype(), str(path))
    if np.isinf(header["scl_slope"]) or np.isinf(header["scl_inter"]):
        raise ValueError("its header scales values by an infinite number (scl_slope, scl_inter)")
    repairs = _repair_offset(header) + repair_transforms(header, shape)
    check_voxel_sizes(header, str(path))
    report = kind.diagnose_binaryblock(header.binaryblock)
    repairs += tuple(f"header repaired: {line}" for line in report.splitlines() if line)
    _check_length(path, header)
    return header, shape, repairs


def _repair_offset(header: nib.Nifti1Header) -> tuple[str, ...]:
    """Let voxels begin where the standard says when the header has them begin within itself."""
    offset, least = float(header["vox_offset"]), header.single_vox_offset
    if not 0 <= offset < least:
        return ()
    header["vox_offset"] = least
    return (
        f"header repaired: vox_offset {offset:g} lies within the header; voxels are read from byte {least}",
    )


def _first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if zipped != _is_zipped_name(path):
            raise ValueError(f"it {'is' if zipped else 'is not'} compressed, unlike its name")
        if not zipped:
            return file.read(count)
        with gzip.GzipFile(fileobj=file) as unzipped:
            return unzipped.read(count)


def _check_length(path: Path, header: nib.Nifti1Header) -> None:
    """Refuse a header that announces more voxels than the file can hold, before memory is allocated for them."""
    offset, voxels = float(header["vox_offset"]), _voxel_bytes(header)
    if offset < 0 or offset % 1:
        raise ValueError(f"its voxels would begin at byte {offset:g} (vox_offset)")
    size = path.stat().st_size
    zipped = _is_zipped_name(path)
    most = size * _BEST_DEFLATE_RATIO if zipped else size
    if not offset + voxels <= most:  # also for NaN
        raise UnreadableImageError(
            f"expected {voxels:,.0f} bytes of voxels after {offset:,.0f} of header, found a file of "
            f"{size:,} bytes{', compressed' if zipped else ''}: it is truncated or its header is wrong; "
            "copy or export it again.",
            source=path,
        )


def _voxel_bytes(header: nib.Nifti1Header) -> int:
    return int(prod(header.get_data_shape()) * header.get_data_dtype().itemsize)


def _content(path: Path, header: nib.Nifti1Header) -> bytes:
    """Read the header and voxels as they are in the file; a packed file is read to its end, where its checksum is."""
    length = int(header["vox_offset"]) + _voxel_bytes(header)
    # Fewer bytes than the smallest plane has are padding; more would mean wrong dimensions or a wrong type.
    most_trailing = _voxel_bytes(header) // max(header.get_data_shape())
    with gzip.open(path) if _is_zipped_name(path) else path.open("rb") as file:
        content = file.read(length)
        trailing = len(file.read(most_trailing))
    if len(content) < length:
        raise EOFError(f"it ends after {len(content):,} of {length:,} bytes")
    if trailing == most_trailing:
        raise ValueError(
            f"it continues after the {length:,} bytes that its header announces (dim {header.get_data_shape()}, "
            f"datatype {int(header['datatype'])}, {int(header['bitpix'])} bits)"
        )
    return content


def _is_zipped_name(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _single_precision(image: _Image) -> np.ndarray:
    with np.errstate(
        over="ignore"
    ):  # values beyond float32 become infinite, which the check of values reports
        return image.get_fdata(dtype=np.float32, caching="unchanged")


def _whole_numbers(image: _Image, path: Path) -> np.ndarray:
    """Return the voxels as int32; integers without a scale factor are never turned into floats."""
    values = np.asanyarray(image.dataobj)
    limits = np.iinfo(np.int32)
    if values.dtype.kind == "f":
        whole = np.isfinite(values) & np.isclose(values, np.rint(values), rtol=0, atol=1e-3)
        if not whole.all():
            raise LabelMapError(
                "expected labels, which are whole numbers, found values such as "
                f"{values[~whole][0]:g}; pass a label map, or threshold it first.",
                source=path,
            )
        values = np.rint(values)
    if values.min() < limits.min or values.max() > limits.max:
        raise LabelMapError(
            f"expected labels below 2^31, found up to {values.max():g}; renumber them.", source=path
        )
    return values.astype(np.int32)


def _unreadable(path: Path, error: BaseException) -> UnreadableImageError:
    found = what_it_is(path)
    if found is not None:
        return UnreadableImageError(f"expected a readable NIfTI file, found {found}.", source=path)
    said = getattr(error, "strerror", None) or str(error)  # of the system, without the path
    reason = " ".join(said.split()) or type(error).__name__
    return UnreadableImageError(
        f"expected a readable NIfTI file, but reading failed: {reason}; it is truncated, corrupt or "
        "of another format: copy or export it again.",
        source=path,
    )


@contextmanager
def _silent_nibabel() -> Iterator[None]:
    """Keep nibabel from printing header repairs, which are notes here."""
    logger = logging.getLogger("nibabel.global")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
