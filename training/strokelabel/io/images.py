"""Reading a scan: one NIfTI file, or a folder of DICOM files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from strokelabel.errors import UnreadableImageError
from strokelabel.geometry import Grid
from strokelabel.io.checks import check_values
from strokelabel.io.file_kinds import is_dicom_file, known_format, missing_or_link, what_it_is
from strokelabel.io.nifti import NIFTI_SUFFIXES, is_nifti_name, read_nifti
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
        path: a NIfTI file (.nii, .nii.gz), a folder that holds the DICOM files of one series, or one DICOM file of a
            series whose others lie beside it.

    Raises:
        UnreadableImageError: missing, truncated, corrupt, of unknown format, or not one DICOM series.
        DimensionError: 2-D, 4-D, colour or complex.
        EmptyImageError, ConstantImageError, NonFiniteImageError: nothing to segment.
        HeaderError: a singular affine or impossible sizes (refused before memory is allocated).
    """
    path = Path(path)
    _check_name(path)
    if path.is_dir() or (not is_nifti_name(path) and is_dicom_file(path)):
        # Training never reads DICOM; so it does not need SimpleITK, and starts sooner.
        from strokelabel.io.dicom.reader import read_dicom_series

        dicom = read_dicom_series(path)
        image = Image(dicom.data, dicom.affine, None, str(path), dicom.notes)
    else:
        _check_is_nifti(path)
        nifti = read_nifti(path, np.float32)
        image = Image(nifti.data, nifti.affine, nifti.header, str(path), nifti.notes)
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
    _check_name(path)
    _check_is_nifti(path)
    nifti = read_nifti(path, np.int32)
    return Image(nifti.data, nifti.affine, nifti.header, str(path), nifti.notes)


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


def _check_is_nifti(path: Path) -> None:
    if not path.is_file():
        raise UnreadableImageError(f"expected a file or folder, found {missing_or_link(path)}.", source=path)
    if is_nifti_name(path):
        return
    expected = f"expected a NIfTI file ({', '.join(NIFTI_SUFFIXES)}) or a folder of DICOM files"
    if is_dicom_file(path):
        raise UnreadableImageError(
            f"{expected}, found one DICOM file; pass the folder {path.parent} instead.", source=path
        )
    found = what_it_is(path) if path.suffix == "" else None
    raise UnreadableImageError(f"{expected}, found {found or known_format(path)}.", source=path)
