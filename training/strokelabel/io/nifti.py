"""Reading NIfTI files, in one file or as a pair (.hdr and .img), distrusting their headers until they are checked."""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import NamedTuple, TypeAlias

import nibabel as nib
import numpy as np

from strokelabel.errors import HeaderError, UnreadableImageError
from strokelabel.geometry import Grid
from strokelabel.io.checks import as_whole_numbers, check_number_type, check_shape
from strokelabel.io.nifti_space import (
    affine_in_mm,
    check_agreement,
    check_voxel_sizes,
    orientation_notes,
    repair_transforms,
)
from strokelabel.io.stored_volume import BEST_COMPRESSION, READ_ERRORS, StoredVolume, unreadable

NIFTI_SUFFIXES = (".nii", ".nii.gz")

_PAIR = re.compile(r"(.*)\.(hdr|img)(\.gz)?", re.IGNORECASE | re.DOTALL)
_PAIR_MAGICS = (b"ni1", b"ni2")
_SINGLE_MAGICS = {348: b"n+1", 540: b"n+2"}

_Image: TypeAlias = nib.Nifti1Image | nib.Nifti2Image

_GZIP_MAGIC = b"\x1f\x8b"

_IMAGE_TYPES: dict[int, type[_Image]] = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
"""By length of the header in bytes, which is its first field."""


def is_nifti_name(path: Path) -> bool:
    """Return whether a file name ends like that of a NIfTI file in one piece."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def pair_of(path: Path) -> tuple[Path, Path] | None:
    """Return the header and the voxels (.hdr, .img) of a pair by the name of either; None for any other name.

    The other half is compressed or not, and spelt in capitals or not, as it is in the folder.
    """
    match = _PAIR.fullmatch(path.name)
    if match is None:
        return None
    stem, kind, zipped = match[1], match[2], match[3] or ""
    other = {"hdr": "img", "img": "hdr"}[kind.lower()]
    endings = [f"{word}{end}" for word in (other, other.upper()) for end in (zipped, "" if zipped else ".gz")]
    preferred = endings[2:] + endings[:2] if kind.isupper() else endings
    candidates = [path.with_name(f"{stem}.{ending}") for ending in preferred]
    found = next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
    return (path, found) if kind.lower() == "hdr" else (found, path)


def read_nifti(path: Path, dtype: type[np.float32] | type[np.int32]) -> StoredVolume:
    """Read a NIfTI file, checking all that its header says before memory is allocated for the voxels.

    Args:
        path: an existing .nii or .nii.gz file, or either half of a pair.
        dtype: float32 for scans; int32 for labels, which must then be whole numbers.

    Raises:
        UnreadableImageError, DimensionError, EmptyImageError, HeaderError, LabelMapError: see
            `strokelabel.errors`. The values are not judged.
    """
    try:
        header, shape, place, repairs = _check_header(path)
        with _silent_nibabel():
            padding = bytes(int(header["vox_offset"]) - len(header.binaryblock))
            content = header.binaryblock + padding + _voxels(place, header)
            kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
            image = kind.from_bytes(content)
        affine, unit_notes = affine_in_mm(image.header, image.affine, shape, str(path))
        check_agreement(header, str(path))
        if dtype is np.int32:  # integers without a scale factor are never turned into floats
            data = as_whole_numbers(np.asanyarray(image.dataobj), str(path))
        else:
            data = _single_precision(image)
    except READ_ERRORS as error:
        raise unreadable(path, error, "a NIfTI file") from error
    notes = repairs + unit_notes + orientation_notes(image.header, shape)
    return StoredVolume(data.reshape(shape), affine, image.header, notes)


def read_nifti_header(path: Path) -> tuple[Grid, nib.Nifti1Header]:
    """Return the grid and the header of a NIfTI file by its header alone, which is checked as in `read_nifti`.

    Raises:
        UnreadableImageError, DimensionError, EmptyImageError, HeaderError: see `strokelabel.errors`.
    """
    try:
        header, shape, *_ = _check_header(path)
        with _silent_nibabel():
            affine, _ = affine_in_mm(header, header.get_best_affine(), shape, str(path))
        check_agreement(header, str(path))
    except READ_ERRORS as error:
        raise unreadable(path, error, "a NIfTI file") from error
    return Grid(shape, affine), header


def _image_type(path: Path) -> type[_Image]:
    block = _first_bytes(path, 4)
    sizes = {int.from_bytes(block, "little"), int.from_bytes(block, "big")}
    for size, image_type in _IMAGE_TYPES.items():
        if size in sizes:
            return image_type
    raise ValueError("it does not begin with a NIfTI header")


class _Place(NamedTuple):
    """File that holds the voxels, and the byte at which they begin."""

    path: Path
    offset: float


def _check_header(path: Path) -> tuple[nib.Nifti1Header, tuple[int, int, int], _Place, tuple[str, ...]]:
    """Return the header with its repairs, the volume's shape, the place of its voxels, and a note for each field that
    is repaired. The header of a pair becomes that of a single file.
    """
    pair = _existing_pair(path)
    kind = _image_type(pair[0] if pair else path).header_class
    size = kind.template_dtype.itemsize
    block = _first_bytes(pair[0] if pair else path, size)
    if len(block) < size:
        raise ValueError(f"its header ends after {len(block)} of {size} bytes")
    header = kind(block, check=False)
    shape = check_shape(header.get_data_shape(), str(path))
    if int(header["datatype"]) not in nib.nifti1.data_type_codes.dtype:
        raise ValueError(f"its header announces voxels of unknown type {int(header['datatype'])}")
    check_number_type(header.get_data_dtype(), str(path))
    if np.isinf(header["scl_slope"]) or np.isinf(header["scl_inter"]):
        raise ValueError("its header scales values by an infinite number (scl_slope, scl_inter)")
    repairs = () if pair else _repair_offset(header)
    place = _Place(pair[1] if pair else path, float(header["vox_offset"]))
    if pair:
        _check_is_no_analyze(header, path)
        header["magic"], header["vox_offset"] = _SINGLE_MAGICS[size], header.single_vox_offset
    repairs += repair_transforms(header, shape)
    check_voxel_sizes(header, str(path))
    report = kind.diagnose_binaryblock(header.binaryblock)
    repairs += tuple(f"header repaired: {line}" for line in report.splitlines() if line)
    _check_length(place, header)
    return header, shape, place, repairs


def _existing_pair(path: Path) -> tuple[Path, Path] | None:
    pair = pair_of(path)
    for half in pair or ():
        if not half.is_file():
            raise UnreadableImageError(
                f"expected a header (.hdr) and its voxels (.img) side by side, found no {half.name}; copy both.",
                source=path,
            )
    return pair


def _check_is_no_analyze(header: nib.Nifti1Header, path: Path) -> None:
    """Refuse a header without NIfTI's mark: Analyze 7.5 does not say how the scan lies in space.

    Raises:
        HeaderError: saying so.
    """
    if bytes(header["magic"].tobytes())[:3] not in _PAIR_MAGICS:
        raise HeaderError(
            "expected the header of a NIfTI pair, found one of Analyze 7.5, which does not say which side is left; "
            "nothing is assumed for it: convert the scan to NIfTI from its source, or with a program that knows how it "
            "was stored.",
            source=path,
        )


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


def _check_length(place: _Place, header: nib.Nifti1Header) -> None:
    """Refuse a header that announces more voxels than the file can hold, before memory is allocated for them."""
    path, offset = place
    voxels = _voxel_bytes(header)
    if offset < 0 or offset % 1:
        raise ValueError(f"its voxels would begin at byte {offset:g} (vox_offset)")
    size = path.stat().st_size
    zipped = _is_zipped_name(path)
    most = size * BEST_COMPRESSION["gzip"] if zipped else size
    if not offset + voxels <= most:  # also for NaN
        raise UnreadableImageError(
            f"expected {voxels:,.0f} bytes of voxels after {offset:,.0f} of header, found a file of "
            f"{size:,} bytes{', compressed' if zipped else ''}: it is truncated or its header is wrong; "
            "copy or export it again.",
            source=path,
        )


def _voxel_bytes(header: nib.Nifti1Header) -> int:
    return int(prod(header.get_data_shape()) * header.get_data_dtype().itemsize)


def _voxels(place: _Place, header: nib.Nifti1Header) -> bytes:
    """Read the voxels as they are in the file; a packed file is read to its end, where its checksum is."""
    path, offset, length = place.path, int(place.offset), _voxel_bytes(header)
    # Fewer bytes than the smallest plane has are padding; more would mean wrong dimensions or a wrong type.
    most_trailing = length // max(header.get_data_shape())
    with gzip.open(path) if _is_zipped_name(path) else path.open("rb") as file:
        before = len(file.read(offset))
        content = file.read(length)
        trailing = len(file.read(most_trailing))
    if len(content) < length:
        raise EOFError(f"it ends after {before + len(content):,} of {offset + length:,} bytes")
    if trailing == most_trailing:
        raise ValueError(
            f"it continues after the {offset + length:,} bytes that its header announces "
            f"(dim {header.get_data_shape()}, datatype {int(header['datatype'])}, {int(header['bitpix'])} bits)"
        )
    return content


def _is_zipped_name(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _single_precision(image: _Image) -> np.ndarray:
    with np.errstate(
        over="ignore"
    ):  # values beyond float32 become infinite, which the check of values reports
        return image.get_fdata(dtype=np.float32, caching="unchanged")


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
