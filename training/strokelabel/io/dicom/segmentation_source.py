"""Source instances of a DICOM SEG: their headers, in the order of the grid that the reader returns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset

from strokelabel.errors import HeaderError, OutputError
from strokelabel.geometry import Grid
from strokelabel.io.dicom.geometry import Slice
from strokelabel.io.dicom.header import (
    numbers,
    read_header,
    refusing_corruption,
    silent_pydicom,
    tag_name,
    text,
)
from strokelabel.io.dicom.reader import find_dicom_stack
from strokelabel.io.dicom.segmentation_attributes import take_over
from strokelabel.types import PathLike

_REQUIRED = (
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "SOPClassUID",
    "FrameOfReferenceUID",
)
"""Attributes that place a result in an archive and in space; they cannot be replaced."""


class DicomSource:
    """A DICOM series that results are written back to.

    Args:
        folder: holds the files of one series, or one file of the series, as for `read_dicom_series`.

    Raises:
        UnreadableImageError, DimensionError, HeaderError: as `read_dicom_series`.
    """

    def __init__(self, folder: PathLike) -> None:
        self._folder = Path(folder)
        self._stack = find_dicom_stack(self._folder)
        self._notes: dict[str, None] = {}

    @property
    def grid(self) -> Grid:
        """Shape and affine that `read_image` gives for the series."""
        return Grid(self._stack.shape, self._stack.affine)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on attributes that `headers` could not take over unchanged."""
        return tuple(self._notes)

    @silent_pydicom()
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
        for header, slice_ in zip(
            headers, self._stack.slices, strict=False
        ):  # one slice of a multi-frame file will do
            self._notes.update(dict.fromkeys(take_over(header)))
            self._complete(header, slice_)
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
        with refusing_corruption(file):
            header = read_header(file)
            missing = [name for name in _REQUIRED if not text(header, name)]
        if missing:
            raise OutputError(
                f"expected {', '.join(map(tag_name, missing))} in the source for a DICOM SEG, found none; "
                "nothing is invented: export the series with it, or write NIfTI.",
                source=file.name,
            )
        return header

    def _complete(self, header: Dataset, slice_: Slice) -> None:
        """Put the geometry that was read where highdicom looks for it."""
        spacing = float(f"{np.linalg.norm(self._stack.affine[:3, 2]):.6g}")
        if self._stack.frames is None:
            _tell_place(header, slice_)
            _tell_spacing(header, spacing)
        else:
            _share_groups(header, spacing)


def _tell_place(header: Dataset, slice_: Slice) -> None:
    """Give position, directions and pixel size as they were read, where the header has them otherwise."""
    read = {
        "ImagePositionPatient": slice_.origin,
        "ImageOrientationPatient": slice_.directions[:, :2].T.ravel(),
        "PixelSpacing": slice_.spacing[::-1],
    }
    for keyword, values in read.items():
        found = numbers(header, keyword, len(values), str(slice_.file.path))
        if found is None or not np.allclose(found, values, atol=1e-4):
            setattr(header, keyword, [f"{value:.10f}"[:16] for value in values])


def _tell_spacing(header: Dataset, spacing: float) -> None:
    """Give the distance of slices, gaps included: readers of the SEG need it where slices are left out."""
    header.SpacingBetweenSlices = spacing
    if not text(header, "SliceThickness").replace(".", "", 1).strip("0").isdigit():
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
