"""Files that hold one volume, in every format that is read: the one way to the voxels and the grid of any of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from strokelabel.errors import ImageError
from strokelabel.geometry import Grid
from strokelabel.hashing import content_of
from strokelabel.io.archives import split_archive
from strokelabel.io.file_kinds import is_image_name, without_suffix
from strokelabel.io.freesurfer import read_freesurfer_header
from strokelabel.io.metaimage import read_metaimage_header
from strokelabel.io.nifti import pair_of, read_nifti, read_nifti_header
from strokelabel.io.nrrd import read_nrrd_header
from strokelabel.io.stored_volume import READ_ERRORS, StoredVolume, VolumeHeader, unreadable

_KINDS: dict[str, tuple[str, Callable[[Path], VolumeHeader]]] = {
    ".nrrd": ("an NRRD file", lambda path: read_nrrd_header(path).volume()),
    ".nhdr": ("an NRRD file", lambda path: read_nrrd_header(path).volume()),
    ".mha": ("a MetaImage header", read_metaimage_header),
    ".mhd": ("a MetaImage header", read_metaimage_header),
    ".mgz": ("a FreeSurfer file", read_freesurfer_header),
    ".mgh": ("a FreeSurfer file", read_freesurfer_header),
    ".mgh.gz": ("a FreeSurfer file", read_freesurfer_header),
}
"""Kind of a file by its ending, as `file_kinds.what_it_is` says it, and what reads its header; all others are NIfTI."""


def read_volume(path: Path, dtype: type[np.float32] | type[np.int32]) -> StoredVolume:
    """Read a volume, checking all that its header says before memory is allocated for the voxels.

    Args:
        path: an existing file whose name is that of an image (`file_kinds.is_image_name`).
        dtype: float32 for scans; int32 for labels, which must then be whole numbers.

    Raises:
        UnreadableImageError, DimensionError, EmptyImageError, HeaderError, LabelMapError: see
            `strokelabel.errors`. The values are not judged.
    """
    kind, header_of = _kind(path)
    if header_of is None:
        return read_nifti(path, dtype)
    try:
        return header_of(path).read(dtype, path)
    except READ_ERRORS as error:
        raise unreadable(path, error, kind) from error


def read_grid(path: Path) -> Grid:
    """Return the shape and affine of a volume by its header alone, which is checked as in `read_volume`.

    Raises:
        UnreadableImageError, DimensionError, EmptyImageError, HeaderError: see `strokelabel.errors`.
    """
    return read_grid_and_header(path)[0]


def read_grid_and_header(path: Path) -> tuple[Grid, nib.Nifti1Header | None]:
    """Return the grid of a volume, and its header where that is NIfTI's.

    Raises:
        UnreadableImageError, DimensionError, EmptyImageError, HeaderError: as `read_grid`.
    """
    kind, header_of = _kind(path)
    if header_of is None:
        return read_nifti_header(path)
    try:
        return header_of(path).grid, None
    except READ_ERRORS as error:
        raise unreadable(path, error, kind) from error


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files that hold a volume: the header's, then that of the voxels if it is another one.

    Raises:
        UnreadableImageError, DimensionError, EmptyImageError, HeaderError: as `read_grid`, where the header must be
            read to know.
    """
    kind, header_of = _kind(path)
    if header_of is None:
        return pair_of(path) or (path,)
    if not _may_be_detached(path):
        return (path,)
    try:
        return tuple(dict.fromkeys((path, header_of(path).voxels.path)))
    except READ_ERRORS as error:
        raise unreadable(path, error, kind) from error


def is_in_two_files(path: Path) -> bool:
    """Return whether the name of an image is that of a header or of voxels whose other half is in another file."""
    return without_suffix(path.name)[1].lower().removesuffix(".gz") in (".nhdr", ".mhd", ".hdr", ".img")


def is_scan_file(path: Path) -> bool:
    """Return whether a file is an image to judge by its name; one of two halves if it has the header.

    The voxels of a pair (.img) stand for no scan beside their header, and other programs name DICOM files so.
    """
    return is_image_name(path) and not without_suffix(path.name)[1].lower().startswith(".img")


def scan_content(path: str | Path) -> str:
    """Return the SHA-256 of a scan's content, as `hashing.content_of`, with the voxels in a file of their own, or of
    an archive and the path into it.
    """
    place = Path(path)
    if (parts := split_archive(place)) is not None:
        contents = [content_of(parts[0]), str(parts[1])]
    elif not (place.is_file() and is_image_name(place) and is_in_two_files(place)):
        return content_of(place)
    else:
        try:
            contents = [content_of(file) for file in files_of(place)]
        except ImageError:
            return ""
    return hashlib.sha256("\0".join(contents).encode()).hexdigest() if all(contents) else ""


def _may_be_detached(path: Path) -> bool:
    return without_suffix(path.name)[1].lower() not in (".mgz", ".mgh", ".mgh.gz")


def _kind(path: Path) -> tuple[str, Callable[[Path], VolumeHeader] | None]:
    return _KINDS.get(without_suffix(path.name)[1].lower(), ("a NIfTI file", None))
