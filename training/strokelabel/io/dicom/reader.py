"""Reading one DICOM series from a folder, with an affine computed from the slices themselves."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from strokelabel.errors import DimensionError, HeaderError
from strokelabel.geometry import LPS_TO_RAS
from strokelabel.io.checks import check_grid, check_shape
from strokelabel.io.dicom.geometry import Slice, slices_of, stack_affine
from strokelabel.io.dicom.header import EXPORT_AGAIN, DicomFile, silent_pydicom, tag_name, text
from strokelabel.io.dicom.pixels import check_pixel_format, read_values
from strokelabel.io.dicom.series import series_of
from strokelabel.types import Affine, Volume


class DicomVolume(NamedTuple):
    """Data float32 (i, j, k), affine (4, 4) to RAS mm, and notes for the user."""

    data: Volume
    affine: Affine
    notes: tuple[str, ...]


class DicomStack(NamedTuple):
    """Slices of one series as a volume, before their pixels are read.

    Attributes:
        slices: one for each k, in that order.
        shape: voxels along i, j and k.
        affine: (4, 4) voxel index to RAS mm.
        notes: what a user should know.
    """

    slices: tuple[Slice, ...]
    shape: tuple[int, int, int]
    affine: Affine
    notes: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """One file for each k, in that order; or the one multi-frame file."""
        return tuple(dict.fromkeys(slice_.file.path for slice_ in self.slices))

    @property
    def frames(self) -> tuple[int, ...] | None:
        """Frame (from 0) of the multi-frame file for each k; None when each slice has a file of its own."""
        if len(self.files) > 1:
            return None
        return tuple(slice_.frame for slice_ in self.slices)


def read_dicom_series(path: Path) -> DicomVolume:
    """Read the one DICOM series of a folder (its subfolders are not searched), or the series of one file.

    Rescale slope and intercept are applied, each frame's own. The axes are i along a row's columns, j down the
    rows, k through the slices in the direction of the slice normal; a tilted gantry gives a sheared affine.
    Nothing is assumed for a tag that is missing.

    Raises:
        UnreadableImageError: no series, several series, missing and unevenly spaced slices, truncated pixels.
        DimensionError: a single slice, several volumes in one series, or colour.
        HeaderError: a missing or impossible tag, which is named; impossible geometry.
    """
    stack = find_dicom_stack(path)
    return DicomVolume(read_values(stack.slices), stack.affine, stack.notes)


@silent_pydicom()
def find_dicom_stack(path: Path) -> DicomStack:
    """Find the slices of one DICOM series and the grid they make, from their headers.

    Args:
        path: a folder with one series, or one file of the series; see `series_of`.

    Raises:
        UnreadableImageError, DimensionError, HeaderError: as `read_dicom_series`.
    """
    files, notes = series_of(path)
    shape = _shape(files, str(path))
    notes += tuple(note for file in files for note in check_pixel_format(file))
    slices = [slice_ for file in files for slice_ in slices_of(file)]
    _check_units(slices, str(path))
    _check_one_origin(files, str(path))
    order, lps, stack_notes = stack_affine(slices, str(path))
    notes += tuple(note for slice_ in slices for note in slice_.notes) + stack_notes
    with np.errstate(invalid="ignore"):  # infinities are reported by the check
        affine = LPS_TO_RAS @ lps
    check_grid(shape, affine, str(path))
    return DicomStack(tuple(slices[number] for number in order), shape, affine, tuple(dict.fromkeys(notes)))


def _check_one_origin(files: list[DicomFile], source: str) -> None:
    """Refuse slices of several patients or frames of reference, whatever series they claim to be of."""
    for keyword in ("PatientID", "FrameOfReferenceUID"):
        found = sorted({text(file.header, keyword) for file in files} - {""})
        if len(found) > 1:
            raise HeaderError(
                f"expected one {tag_name(keyword)} in all slices, found {len(found)}; {EXPORT_AGAIN}.",
                source=source,
            )


def _shape(files: list[DicomFile], source: str) -> tuple[int, int, int]:
    """Return the voxels along i, j and k; refuse files that do not form one volume."""
    if len(files) == 1:
        return check_shape(files[0].size, f"{source} (one DICOM file)")
    if any(file.size[2] != 1 for file in files):
        raise DimensionError(
            f"expected one volume, found {len(files)} multi-frame files in one series; "
            f"pass one of them, such as {files[0].path}.",
            source=source,
        )
    sizes = sorted({file.size[:2] for file in files})
    if len(sizes) > 1:
        raise DimensionError(f"expected slices of one size, found {sizes}; remove the others.", source=source)
    return check_shape((*sizes[0], len(files)), source)


def _check_units(slices: list[Slice], source: str) -> None:
    """Refuse slices whose values are not in one unit, and CT without what makes Hounsfield units of its values."""
    kinds = {text(slice_.file.header, "PhotometricInterpretation") for slice_ in slices}
    if len(kinds) > 1:
        raise HeaderError(
            f"expected one {tag_name('PhotometricInterpretation')}, found {', '.join(sorted(kinds))}; "
            f"{EXPORT_AGAIN}.",
            source=source,
        )
    without = [slice_ for slice_ in slices if slice_.rescale is None]
    if without and (len(without) < len(slices) or without[0].file.modality == "CT"):
        raise HeaderError(
            f"expected {tag_name('RescaleSlope')} and {tag_name('RescaleIntercept')} of every slice, found "
            f"none in {len(without)} of {len(slices)}, such as {without[0].file.path.name}; {EXPORT_AGAIN} with them.",
            source=source,
        )
