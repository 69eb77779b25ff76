"""Source instances of a DICOM SEG: their headers, in the order of the grid that the reader returns."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread

from strokelabel.errors import HeaderError, OutputError, UnreadableImageError
from strokelabel.geometry import Grid
from strokelabel.io.dicom import find_dicom_stack
from strokelabel.types import PathLike

_REQUIRED = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
"""Attributes that place a result in an archive and in space; they cannot be replaced."""
_MAY_BE_UNKNOWN = (
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
)
"""Type 2 of the standard: written empty where the source does not tell."""


class DicomSource:
    """A DICOM series that results are written back to.

    Args:
        folder: holds the files of one series, as for `read_dicom_series`.

    Raises:
        UnreadableImageError, DimensionError, HeaderError: as `read_dicom_series`.
    """

    def __init__(self, folder: PathLike) -> None:
        self._folder = Path(folder)
        self._stack = find_dicom_stack(self._folder)

    @property
    def grid(self) -> Grid:
        """Shape and affine that `read_image` gives for the series."""
        return Grid(self._stack.shape, self._stack.affine)

    def headers(self) -> list[Dataset]:
        """Return the instances without pixels, completed in memory where highdicom needs more than the standard
        requires.

        Returns:
            One for each k, or the one multi-frame instance.

        Raises:
            OutputError: an instance lacks what identifies the patient, the study or the frame of reference.
            UnreadableImageError: a file is corrupt.
        """
        headers = [self._header(file) for file in self._stack.files]
        for header in headers:
            self._complete(header)
        return headers

    def planes(self, volume: np.ndarray) -> np.ndarray:
        """Return a volume (i, j, k) as planes (instance or frame, row, column) in the order of `headers`.

        Raises:
            HeaderError: it is not on the grid of the series.
        """
        if volume.shape != self._stack.shape:
            raise HeaderError(
                f"expected a result of shape {self._stack.shape}, that of the series, found "
                f"{volume.shape}; bring it back to the series' grid first.",
                source=self._folder,
            )
        planes = np.ascontiguousarray(volume.transpose(2, 1, 0))
        if self._stack.frames is None:
            return planes
        in_file = np.empty_like(planes)
        in_file[list(self._stack.frames)] = planes
        return in_file

    def _header(self, file: Path) -> Dataset:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # odd values that play no role here
                header = dcmread(file, stop_before_pixels=True)
                missing = [name for name in _REQUIRED if not str(header.get(name, "")).strip()]
        except Exception as error:  # pydicom has no common error for corrupt files
            raise UnreadableImageError(
                "expected a readable DICOM header, found a corrupt one; export the series again.", source=file
            ) from error
        if missing:
            raise OutputError(
                f"expected {', '.join(missing)} in the source for a DICOM SEG, found none; nothing is "
                "invented: export the series with it, or write NIfTI.",
                source=file.name,
            )
        return header

    def _complete(self, header: Dataset) -> None:
        for name in _MAY_BE_UNKNOWN:
            if name not in header:
                setattr(header, name, "")
        spacing = float(f"{np.linalg.norm(self._stack.affine[:3, 2]):.6g}")
        if self._stack.frames is None:
            _tell_spacing(header, spacing)
        else:
            _share_groups(header, spacing)


def _tell_spacing(header: Dataset, spacing: float) -> None:
    """Give the distance of slices, gaps included: readers of the SEG need it where slices are left out."""
    header.SpacingBetweenSlices = spacing
    if not header.get("SliceThickness"):
        header.SliceThickness = spacing


def _share_groups(header: Dataset, spacing: float) -> None:
    """Put orientation and pixel size, which are one for all frames, where highdicom looks for them."""
    frames = header.get("PerFrameFunctionalGroupsSequence")
    if not frames or "PlanePositionSequence" not in frames[0]:
        raise OutputError(
            "expected a position for each frame of the multi-frame source for a DICOM SEG, found none; "
            "export the series again, or write NIfTI."
        )
    if not header.get("SharedFunctionalGroupsSequence"):
        header.SharedFunctionalGroupsSequence = [Dataset()]
    shared = header.SharedFunctionalGroupsSequence[0]
    for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if name not in shared:
            setattr(shared, name, frames[0][name].value)
    _tell_spacing(shared.PixelMeasuresSequence[0], spacing)
