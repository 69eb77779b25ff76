"""Reading NIfTI files, distrusting their headers until they are checked."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

from strokelabel.errors import LabelMapError, UnreadableImageError
from strokelabel.io.checks import check_grid, check_number_type, check_shape
from strokelabel.io.nifti_space import orientation_notes
from strokelabel.types import Affine

NIFTI_SUFFIXES = (".nii", ".nii.gz")

_GZIP_MAGIC = b"\x1f\x8b"
_BEST_DEFLATE_RATIO = 1040
"""Deflate cannot compress better than about 1032 to 1 (zlib's technical notes)."""
_HEADER_BYTES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_READ_ERRORS = (OSError, EOFError, zlib.error, ValueError, nib.filebasedimages.ImageFileError)


class NiftiVolume(NamedTuple):
    """Data (i, j, k), affine (4, 4) to RAS mm, the file's header, and notes for the user."""

    data: np.ndarray
    affine: Affine
    header: nib.Nifti1Header
    notes: tuple[str, ...]


def is_nifti_name(path: Path) -> bool:
    """Whether a file name ends like a NIfTI file's."""
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
    header, repairs = _read_header(path)
    shape = check_shape(header.get_data_shape(), str(path))
    check_number_type(header.get_data_dtype(), str(path))
    _check_length(path, header)
    try:
        image = nib.load(path, mmap=False)
        check_grid(shape, image.affine, str(path))
        data = _whole_numbers(image, path) if dtype is np.int32 else image.get_fdata(dtype=np.float32)
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from error
    notes = repairs + orientation_notes(image.header, shape)
    return NiftiVolume(data.reshape(shape), np.array(image.affine, dtype=np.float64), image.header, notes)


def _read_header(path: Path) -> tuple[nib.Nifti1Header, tuple[str, ...]]:
    """The header as it stands in the file, and a note for each field that nibabel will repair."""
    try:
        block = _first_bytes(path, max(_HEADER_BYTES))
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from error
    kind = _header_class(block)
    if kind is None:
        raise UnreadableImageError(
            f"{path}: expected a NIfTI header of 348 or 540 bytes, found something else; the file is corrupt or of "
            "another format: export the scan again."
        )
    raw = block[: kind.template_dtype.itemsize]
    report = kind.diagnose_binaryblock(raw)
    repairs = tuple(f"header repaired: {line}" for line in report.splitlines() if line)
    return kind(raw, check=False), repairs


def _first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if zipped != path.name.lower().endswith(".gz"):
            found = "gzip data" if zipped else "plain data"
            raise ValueError(f"the name ends with {path.suffix} but the file holds {found}, so rename it")
        if not zipped:
            return file.read(count)
        with gzip.GzipFile(fileobj=file) as unzipped:
            return unzipped.read(count)


def _header_class(block: bytes) -> type[nib.Nifti1Header] | None:
    for size, kind in _HEADER_BYTES.items():
        if len(block) >= size and size in (int.from_bytes(block[:4], order) for order in ("little", "big")):
            return kind
    return None


def _check_length(path: Path, header: nib.Nifti1Header) -> None:
    """Refuse files that cannot hold the voxels their header announces."""
    offset = float(header["vox_offset"])
    voxels = prod(header.get_data_shape()) * header.get_data_dtype().itemsize
    size = path.stat().st_size
    zipped = path.name.lower().endswith(".gz")
    most = size * _BEST_DEFLATE_RATIO if zipped else size
    if not 0 <= offset + voxels <= most:
        raise UnreadableImageError(
            f"{path}: expected {voxels:,.0f} bytes of voxels after {offset:,.0f} of header, found a file of {size:,} "
            f"bytes{', compressed' if zipped else ''}: it is truncated or its header is wrong; copy or export it again."
        )


def _whole_numbers(image: nib.Nifti1Image, path: Path) -> np.ndarray:
    """Voxels as int32; integers without a scale factor are never turned into floats."""
    values = np.asanyarray(image.dataobj)
    limits = np.iinfo(np.int32)
    if values.dtype.kind == "f":
        rounded = np.rint(values)
        if not np.allclose(values, rounded, rtol=0, atol=1e-3):  # false for NaN and infinity too
            raise LabelMapError(
                f"{path}: expected labels, which are whole numbers, found values such as "
                f"{values[~np.isclose(values, rounded, rtol=0, atol=1e-3)][0]:g}; pass a label map or threshold it first."
            )
        values = rounded
    if values.min() < limits.min or values.max() > limits.max:
        raise LabelMapError(
            f"{path}: expected labels of at most {limits.max}, found {values.max()}; renumber them."
        )
    return values.astype(np.int32)


def _unreadable(path: Path, error: BaseException) -> UnreadableImageError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UnreadableImageError(
        f"{path}: expected a readable NIfTI file, but {reason}; it is truncated or corrupt: copy or export it again."
    )
