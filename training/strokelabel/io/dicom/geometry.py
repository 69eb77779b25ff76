"""Slices of DICOM files: order, position, and scaling of the values, by its own tags and no others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from strokelabel.errors import DimensionError, HeaderError, UnreadableImageError
from strokelabel.io.dicom.header import (
    EXPORT_AGAIN,
    DicomFile,
    has_value,
    numbers,
    refusing_corruption,
    tag_name,
)
from strokelabel.types import Affine

_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
"""Functional groups that hold an element in multi-frame files."""

_NOT_A_UNIT = 0.1
"""Deviation of a direction's length from 1 above which it is no rounding."""
_ROUNDED = 2e-3
"""Deviation from unit length or right angles above which a note is made."""
_NOT_PERPENDICULAR = 0.02
"""Cosine between rows and columns above which they are no rounded right angle."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame of a DICOM file.

    Attributes:
        file: whose it is.
        frame: its number in the file, from 0.
        origin: LPS position in mm of the first pixel's centre.
        directions: (3, 3), columns are the LPS unit vectors along a row's columns, down the rows, and their normal.
        spacing: mm between columns and between rows.
        between, thickness: mm from slice to slice and through a slice, as the file says; None where it does not.
        rescale: slope and intercept of its values; None where the file has none.
        notes: what a user should know.
    """

    file: DicomFile
    frame: int
    origin: np.ndarray
    directions: np.ndarray
    spacing: np.ndarray
    between: float | None
    thickness: float | None
    rescale: tuple[float, float] | None
    notes: tuple[str, ...] = ()


def slices_of(file: DicomFile) -> list[Slice]:
    """Read where each frame of a file lies, in the order of the file.

    In a multi-frame file an element is looked for in the frame's own functional group, then in the group that all
    frames share, then in the data set itself.

    Raises:
        HeaderError: a tag is missing, or is not what the standard says; it is named.
        UnreadableImageError: the header is corrupt.
    """
    with refusing_corruption(file.path):
        frames = file.header.get("PerFrameFunctionalGroupsSequence") or [Dataset()] * file.size[2]
        shared = (file.header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        if len(frames) != file.size[2]:
            raise HeaderError(
                f"expected {tag_name('PerFrameFunctionalGroupsSequence')} with an item for each of the "
                f"{file.size[2]} frames ({tag_name('NumberOfFrames')}), found {len(frames)}; {EXPORT_AGAIN}.",
                source=file.path,
            )
        return [_Frame(file, number, frame, shared).slice() for number, frame in enumerate(frames)]


class _Frame:
    """Data sets that may describe one frame."""

    def __init__(self, file: DicomFile, number: int, own: Dataset, shared: Dataset) -> None:
        self._file = file
        self._number = number
        self._groups = (own, shared)
        self._where = str(file.path) if file.size[2] == 1 else f"{file.path}, frame {number + 1}"

    def slice(self) -> Slice:
        directions, notes = self._directions()
        return Slice(
            file=self._file,
            frame=self._number,
            origin=self._required("ImagePositionPatient", 3, "the place of its first pixel in mm"),
            directions=directions,
            spacing=self._spacing(),
            between=self._optional_mm("SpacingBetweenSlices"),
            thickness=self._optional_mm("SliceThickness"),
            rescale=self._rescale(),
            notes=notes,
        )

    def _holders(self, keyword: str) -> list[Dataset]:
        """Return the data sets that may hold an element, the nearest first; one place is not that of several frames."""
        items = [groups.get(_GROUPS[keyword]) for groups in self._groups]
        found = [item[0] for item in items if item]
        if keyword == "ImagePositionPatient" and self._file.size[2] > 1:
            return [item[0] for item in items[:1] if item]
        return [*found, self._file.header]

    def _find(self, keyword: str, count: int) -> np.ndarray | None:
        for holder in self._holders(keyword):
            values = numbers(holder, keyword, count, self._where)
            if values is not None:
                return values
        return None

    def _required(self, keyword: str, count: int, meaning: str) -> np.ndarray:
        values = self._find(keyword, count)
        if values is None:
            raise HeaderError(
                f"expected {tag_name(keyword)}, {meaning}, found none{self._not_instead(keyword)}; "
                f"nothing is assumed for it: {EXPORT_AGAIN} from the scanner or archive with this tag, or pass a "
                "NIfTI file with the true geometry.",
                source=self._where,
            )
        return values

    def _not_instead(self, keyword: str) -> str:
        """Name a tag that looks like an answer and is none."""
        stand_in = {"PixelSpacing": "ImagerPixelSpacing", "ImagePositionPatient": "SliceLocation"}.get(
            keyword
        )
        if stand_in is None or not has_value(self._file.header, stand_in):
            return ""
        return f" ({tag_name(stand_in)} measures something else)"

    def _spacing(self) -> np.ndarray:
        values = self._required("PixelSpacing", 2, "mm between rows and between columns")
        if values.min() <= 0:
            raise HeaderError(
                f"expected {tag_name('PixelSpacing')} above 0 mm, found {values[0]:g} and "
                f"{values[1]:g}; {EXPORT_AGAIN} with the true pixel size.",
                source=self._where,
            )
        return values[::-1]  # DICOM: between rows first

    def _optional_mm(self, keyword: str) -> float | None:
        """Return a distance that only serves for notes, so that an invalid one is no reason to refuse."""
        try:
            values = self._find(keyword, 1)
        except HeaderError:
            return None
        return float(values[0]) if values is not None and values[0] > 0 else None

    def _directions(self) -> tuple[np.ndarray, tuple[str, ...]]:
        values = self._required("ImageOrientationPatient", 6, "the directions of its rows and columns")
        vectors = values.reshape(2, 3)
        lengths = np.linalg.norm(vectors, axis=1)
        columns, rows = vectors / np.maximum(lengths, 1e-9)[:, None]
        slant = float(abs(columns @ rows))
        off = float(np.abs(lengths - 1).max())
        if off > _NOT_A_UNIT or slant > _NOT_PERPENDICULAR:
            raise HeaderError(
                f"expected {tag_name('ImageOrientationPatient')} as two perpendicular directions of "
                f"length 1, found {values.tolist()}; {EXPORT_AGAIN} with the true directions.",
                source=self._where,
            )
        rows = rows - (rows @ columns) * columns
        rows /= np.linalg.norm(rows)
        note = "the directions in ImageOrientationPatient are coarsely rounded; they were orthonormalised"
        return np.column_stack([columns, rows, np.cross(columns, rows)]), (note,) if max(
            off, slant
        ) > _ROUNDED else ()

    def _rescale(self) -> tuple[float, float] | None:
        for holder in self._holders("RescaleSlope"):
            pair = [numbers(holder, name, 1, self._where) for name in ("RescaleSlope", "RescaleIntercept")]
            if pair[0] is not None and pair[1] is not None and pair[0][0] != 0:
                return float(pair[0][0]), float(pair[1][0])
            if pair[0] is not None or pair[1] is not None:
                found = " and ".join("none" if value is None else f"{value[0]:g}" for value in pair)
                raise HeaderError(
                    f"expected {tag_name('RescaleSlope')} other than 0 and "
                    f"{tag_name('RescaleIntercept')}, found {found}; {EXPORT_AGAIN} with both.",
                    source=self._where,
                )
        return None


_SAME_PLACE_MM = 1e-2
_UNEVEN_NOTE = 0.02
"""Deviation from even spacing, as a part of it, above which a note is made."""
_UNEVEN_ERROR = 0.2
"""Deviation from even spacing, as a part of it, above which slices count as missing."""
_TILT_NOTE_DEGREES = 0.5
_TILT_ERROR_DEGREES = 45.0
"""Angle between the slices' normal and the line of their positions; gantries tilt by up to 30 degrees."""
_OTHER_SPACING = 0.1
"""Deviation of the announced distance of slices from that of their positions above which a note is made."""


def stack_affine(slices: list[Slice], source: str) -> tuple[list[int], Affine, tuple[str, ...]]:
    """Order slices along their normal and find their grid.

    Returns:
        The slices' numbers in order, the (4, 4) voxel index to LPS mm affine, and notes for the user.

    Raises:
        DimensionError: slices of different angles, or several slices at one place (a time series).
        HeaderError: positions that do not lead from slice to slice.
        UnreadableImageError: missing or unevenly spaced slices.
    """
    directions = slices[0].directions
    if any(not np.allclose(s.directions, directions, atol=1e-3) for s in slices):
        raise DimensionError(
            "expected parallel slices, found several angles (a localizer?); pass one stack.", source=source
        )
    if any(not np.allclose(s.spacing, slices[0].spacing, rtol=1e-3) for s in slices):
        raise DimensionError(
            "expected one pixel size, found several; remove the slices that differ.", source=source
        )
    origins = np.array([s.origin for s in slices])
    order = np.argsort(origins @ directions[:, 2], kind="stable")
    origins = origins[order]
    notes = _check_even(origins, directions[:, 2], source)
    affine = np.eye(4)
    affine[:3, :2] = directions[:, :2] * slices[0].spacing
    affine[:3, 2] = (origins[-1] - origins[0]) / (len(origins) - 1)
    affine[:3, 3] = origins[0]
    notes += _check_tilt(affine[:3, 2], directions[:, 2], source)
    return order.tolist(), affine, notes + _announced_otherwise(slices[0], affine)


def _check_even(origins: np.ndarray, normal: np.ndarray, source: str) -> tuple[str, ...]:
    through = np.diff(origins @ normal)
    if through.min() < _SAME_PLACE_MM:
        places = 1 + int((through >= _SAME_PLACE_MM).sum())
        raise DimensionError(
            f"expected one volume, found {len(origins)} slices at {places} places (a time series, "
            "several b-values or echoes, or copies); keep one volume's files in the folder.",
            source=source,
        )
    steps = np.diff(origins, axis=0)
    usual = np.median(steps, axis=0)
    length = float(np.linalg.norm(usual))
    off = np.linalg.norm(steps - usual, axis=1)
    after, worst = int(off.argmax()), float(off.max())
    if not worst <= _UNEVEN_ERROR * length:
        found = float(np.linalg.norm(steps[after]))
        raise UnreadableImageError(
            f"expected evenly spaced slices, {length:.2f} mm apart, found {found:.2f} mm "
            f"between slices {after + 1} and {after + 2} of {len(origins)}, as if some were missing or moved; "
            "export the whole series again.",
            source=source,
        )
    if worst > _UNEVEN_NOTE * length:
        return (f"slices are unevenly spaced by up to {worst:.2f} mm; the mean spacing is used",)
    return ()


def _check_tilt(step: np.ndarray, normal: np.ndarray, source: str) -> tuple[str, ...]:
    cosine = float(step @ normal / np.linalg.norm(step))
    angle = float(np.degrees(np.arccos(min(cosine, 1.0))))
    if angle > _TILT_ERROR_DEGREES:
        raise HeaderError(
            f"expected positions (ImagePositionPatient) that lead through the slices, found them at "
            f"{angle:.0f} degrees to the slices' normal (ImageOrientationPatient); one of the two tags is wrong: "
            f"{EXPORT_AGAIN}.",
            source=source,
        )
    if angle > _TILT_NOTE_DEGREES:
        return (
            f"gantry tilt: the slices are tilted by {angle:.1f} degrees against the line through their centres",
        )
    return ()


def _announced_otherwise(first: Slice, affine: Affine) -> tuple[str, ...]:
    """Note an announced distance that is neither that of the positions nor the gap between slices."""
    if first.between is None:
        return ()
    step = float(np.linalg.norm(affine[:3, 2]))
    announced = (first.between, first.between + (first.thickness or 0.0))
    if min(abs(value - step) for value in announced) <= _OTHER_SPACING * step:
        return ()
    return (
        f"SpacingBetweenSlices says {first.between:g} mm, the positions of the slices {step:.4g} mm: the positions "
        "are used; slices may have been left out",
    )
