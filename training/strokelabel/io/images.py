"""Scans in memory: read from a file or a folder of DICOM files; results are written onto a scan's own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener
from numpy.typing import DTypeLike

from strokelabel.errors import DimensionError, ImageError, OutputError, UnreadableImageError
from strokelabel.geometry import Grid
from strokelabel.geometry.same_grid import corner_distance_mm, rounding_mm
from strokelabel.io.archives import is_in_archive
from strokelabel.io.atomic import atomic_path
from strokelabel.io.checks import check_values
from strokelabel.io.file_kinds import (
    KNOWN_FORMATS,
    is_dicom_file,
    is_image_name,
    known_format,
    missing_or_link,
    what_it_is,
)
from strokelabel.io.file_search import unpacked_scan
from strokelabel.io.nifti import NIFTI_SUFFIXES, is_nifti_name
from strokelabel.io.volumes import is_scan_file, read_grid_and_header, read_volume
from strokelabel.types import Affine, PathLike, Volume


@dataclass(frozen=True, eq=False)
class Image:
    """One scan in memory.

    Attributes:
        data: (i, j, k), float32 from `read_image`, integer from `read_label_image`.
        affine: (4, 4) float64 voxel index to RAS mm.
        header: the NIfTI header it was read with; None when it came from elsewhere.
        source: where it came from, for messages and reports.
        notes: what a user should know: doubtful orientation, repaired header, uneven slices.
    """

    data: Volume
    affine: Affine
    header: nib.Nifti1Header | None = None
    source: str = "image"
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> Grid:
        """Shape and affine together."""
        return Grid((self.data.shape[0], self.data.shape[1], self.data.shape[2]), self.affine)


def read_image(path: PathLike) -> Image:
    """Read one scan as float32.

    Args:
        path: a file of any of `IMAGE_SUFFIXES` (NIfTI, NRRD, MetaImage, FreeSurfer), a folder that holds the DICOM
            files of one series, one DICOM file of a series whose others lie beside it, or an archive (.zip, .tar) with
            one scan; a path that leads on into an archive (`study.zip/series/IM1`) means that scan of it.

    Raises:
        UnreadableImageError: missing, truncated, corrupt, of unknown format, or not one DICOM series.
        DimensionError: 2-D, 4-D, colour or complex.
        EmptyImageError, ConstantImageError, NonFiniteImageError: nothing to segment.
        HeaderError: a singular affine or impossible sizes (refused before memory is allocated).
    """
    path = Path(path)
    if is_in_archive(path):
        with unpacked_scan(path) as inside:
            return _as_of_archive(read_image, inside, path)
    _check_name(path)
    if path.is_dir() or (not is_scan_file(path) and is_dicom_file(path)):
        # Training never reads DICOM; so it does not need SimpleITK, and starts sooner.
        from strokelabel.io.dicom.reader import read_dicom_series

        dicom = read_dicom_series(path)
        image = Image(dicom.data, dicom.affine, None, str(path), dicom.notes)
    else:
        _check_is_image(path)
        volume = read_volume(path, np.float32)
        image = Image(volume.data, volume.affine, volume.header, str(path), volume.notes)
    check_values(image.data, str(path))
    return image


def read_label_image(path: PathLike) -> Image:
    """Read a label map or mask as int32, without rounding: values that are not whole numbers are refused.

    All values may be zero (an empty mask).

    Raises:
        LabelMapError: values that are not whole numbers, or beyond int32.
        UnreadableImageError, DimensionError, EmptyImageError, HeaderError: as `read_image`.
    """
    path = Path(path)
    if is_in_archive(path):
        with unpacked_scan(path) as inside:
            return _as_of_archive(read_label_image, inside, path)
    _check_name(path)
    _check_is_image(path)
    volume = read_volume(path, np.int32)
    return Image(volume.data, volume.affine, volume.header, str(path), volume.notes)


def read_image_header(path: PathLike) -> Image:
    """Return the grid and NIfTI header of a scan; its voxels are all zero. Only of DICOM and archives are they read.

    Raises:
        UnreadableImageError, DimensionError, EmptyImageError, HeaderError: as `read_image`.
    """
    path = Path(path)
    if not is_scan_file(path) or is_in_archive(path):
        image = read_image(path)
        return replace(image, data=np.broadcast_to(np.float32(0), image.data.shape))
    _check_name(path)
    _check_is_image(path)
    grid, header = read_grid_and_header(path)
    return Image(np.broadcast_to(np.float32(0), grid.shape), grid.affine, header, str(path))


def _as_of_archive(read: Callable[[PathLike], Image], inside: Path, path: Path) -> Image:
    """Read an unpacked scan; its source, and that of errors, is the path that leads into the archive."""
    try:
        return replace(read(inside), source=str(path))
    except ImageError as error:
        raise error.with_source(path) from error


def _check_name(path: Path) -> None:
    """Refuse a name that the system cannot look up, such as one that is too long."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return  # said with more detail later
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableImageError(
            f"expected a file or folder, but {reason}; check the path.", source=f"{str(path)[:80]}"
        ) from error


def _check_is_image(path: Path) -> None:
    if not path.is_file():
        raise UnreadableImageError(f"expected a file or folder, found {missing_or_link(path)}.", source=path)
    if is_image_name(path):
        return
    expected = f"expected a scan ({KNOWN_FORMATS}) or a folder of DICOM files"
    if is_dicom_file(path):
        raise UnreadableImageError(
            f"{expected}, found one DICOM file; pass the folder {path.parent} instead.", source=path
        )
    found = what_it_is(path) if path.suffix == "" else None
    raise UnreadableImageError(f"{expected}, found {found or known_format(path)}.", source=path)


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


@contextmanager
def channel_writer(path: PathLike, like: Image, count: int) -> Iterator[Callable[[Volume], None]]:
    """Write a float32 volume of several channels (i, j, k, channel) one channel at a time, atomically.

    Args:
        path: .nii or .nii.gz.
        like: the image whose geometry the file takes, as in `write_nifti`.
        count: number of channels that will come.

    Yields:
        Function that takes the next channel (i, j, k).

    Raises:
        OutputError: the file cannot be written.
    """
    header = _image_on_grid(np.zeros(like.data.shape, np.float32), like).header
    header.set_data_shape((*like.data.shape, count))
    header["vox_offset"] = 0  # as soon as the header allows
    kind = header.get_data_dtype()

    def write(channel: Volume) -> None:
        file.write(channel.astype(kind).tobytes(order="F"))  # the file's order: i fastest, channels last

    with atomic_path(Path(path)) as temporary, ImageOpener(str(temporary), "wb") as file:
        header.write_to(file)
        yield write


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
