"""Grid of the slices of a DICOM series."""

from __future__ import annotations

import numpy as np

from strokelabel.errors import DimensionError, HeaderError, UnreadableImageError
from strokelabel.io.dicom.geometry import Slice
from strokelabel.io.dicom.header import EXPORT_AGAIN
from strokelabel.types import Affine

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
        return (f"the slices are tilted by {angle:.1f} degrees against their line (a tilted gantry)",)
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
