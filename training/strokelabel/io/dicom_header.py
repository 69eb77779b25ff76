"""Information that SimpleITK does not read from a DICOM file: its kind, and the positions of multi-frame files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.filereader import read_file_meta_info

from strokelabel.errors import UnreadableImageError


class FrameGeometry(NamedTuple):
    """LPS origin in mm, directions of columns, rows and normal as columns, mm between columns and rows."""

    origin: np.ndarray
    directions: np.ndarray
    spacing: np.ndarray


def announces_an_image(path: Path) -> bool:
    """Return whether a DICOM file's first elements name a class of images; one too corrupt to tell may be an image."""
    try:
        with _silent_pydicom():
            return "Image Storage" in str(read_file_meta_info(path).MediaStorageSOPClassUID.name)
    except Exception:  # pydicom has no common error for corrupt files: any kind may come through
        return True


def frame_geometry(path: Path) -> list[FrameGeometry] | None:
    """Return the position of each frame of a multi-frame file, in the order of the file; None if it is not given.

    Raises:
        UnreadableImageError: the file is corrupt.
    """
    try:
        with _silent_pydicom():
            dataset = dcmread(path, stop_before_pixels=True)
            shared = dataset.get("SharedFunctionalGroupsSequence", [Dataset()])[0]
            frames = [_geometry(f, shared) for f in dataset.get("PerFrameFunctionalGroupsSequence", [])]
    except Exception as error:  # as above
        raise UnreadableImageError(
            "expected readable positions of the frames, found a corrupt header; export the series again.",
            source=path,
        ) from error
    known = [frame for frame in frames if frame is not None]
    return known if known and len(known) == len(frames) else None


def _geometry(frame: Dataset, shared: Dataset) -> FrameGeometry | None:
    position = _group(frame, shared, "PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = _group(frame, shared, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    pixels = _group(frame, shared, "PixelMeasuresSequence", "PixelSpacing", 2)
    if position is None or orientation is None or pixels is None:
        return None
    columns, rows = orientation[:3], orientation[3:]
    directions = np.column_stack([columns, rows, np.cross(columns, rows)])
    return FrameGeometry(
        position, directions, np.array([pixels[1], pixels[0], 1.0])
    )  # DICOM: between rows first


def _group(frame: Dataset, shared: Dataset, sequence: str, element: str, length: int) -> np.ndarray | None:
    """Return an element of a frame's functional group, or of the group that all frames share."""
    for groups in (frame, shared):
        if sequence in groups and element in groups[sequence][0]:
            values = np.array(groups[sequence][0][element].value, dtype=float)
            return values.reshape(length)  # an error when corruption changed their number
    return None


@contextmanager
def _silent_pydicom() -> Iterator[None]:
    """Keep pydicom from warning about values that play no role here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
