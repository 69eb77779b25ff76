"""Overlap of two masks, and distances between their surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Final

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from strokelabel.errors import DimensionError
from strokelabel.geometry import box_around


@dataclass(frozen=True)
class EmptyPolicy:
    """Scores for the cases in which a ratio of voxel counts says nothing.

    Attributes:
        both: no lesion in the reference, and none predicted.
        reference: no lesion in the reference, but some predicted.
        prediction: a lesion in the reference, but none predicted.
    """

    both: float
    reference: float
    prediction: float

    def score(self, reference_is_empty: bool, prediction_is_empty: bool) -> float | None:
        """Return the score of an empty case; None when neither mask is empty."""
        if reference_is_empty and prediction_is_empty:
            return self.both
        if reference_is_empty:
            return self.reference
        return self.prediction if prediction_is_empty else None


ISLES_OVERLAP = EmptyPolicy(both=1.0, reference=0.0, prediction=0.0)
"""Rule of the ISLES'22 challenge (Hernandez Petzsche et al. 2022): two empty masks score 1."""


def dice(reference: np.ndarray, prediction: np.ndarray, empty: EmptyPolicy = ISLES_OVERLAP) -> float:
    """Return the Dice coefficient, 2|A∩B| / (|A| + |B|), of two masks on the same grid.

    Args:
        reference: (i, j, k), true (or not zero) inside the lesion.
        prediction: (i, j, k), likewise.
        empty: the score when one of them, or both, are empty.

    Returns:
        A number in [0, 1].

    Raises:
        DimensionError: the masks differ in shape.
    """
    check_same_shape(reference, prediction)
    a, b = reference.astype(bool), prediction.astype(bool)
    sizes = int(np.count_nonzero(a)), int(np.count_nonzero(b))
    special = empty.score(sizes[0] == 0, sizes[1] == 0)
    if special is not None:
        return special
    return 2.0 * int(np.count_nonzero(a & b)) / sum(sizes)


def check_same_shape(reference: np.ndarray, prediction: np.ndarray) -> None:
    """Refuse masks that are not on the same grid.

    Raises:
        DimensionError: naming both shapes.
    """
    if reference.shape != prediction.shape:
        raise DimensionError(
            f"Expected two masks on the same grid, found shapes {reference.shape} and {prediction.shape}; "
            "resample one to the grid of the other first."
        )


def true_positive_rate(reference: np.ndarray, prediction: np.ndarray) -> float:
    """Return the share of the reference's voxels that are predicted, TP / (TP + FN); NaN where the reference is empty.

    Args:
        reference: (i, j, k), true (or not zero) inside the lesion.
        prediction: (i, j, k), likewise.

    Raises:
        DimensionError: the masks differ in shape.
    """
    check_same_shape(reference, prediction)
    return _share(prediction.astype(bool), reference.astype(bool))


def false_positive_rate(reference: np.ndarray, prediction: np.ndarray) -> float:
    """Return the share of the other voxels that are predicted, FP / (FP + TN); NaN where the reference fills the grid.

    It counts every voxel of the grid, air and padding too, so it depends on the field of view. In the papers'
    field, 256³ voxels of 1 mm, 0.001 are some 17 ml.

    Args:
        reference: (i, j, k), true (or not zero) inside the lesion.
        prediction: (i, j, k), likewise.

    Raises:
        DimensionError: the masks differ in shape.
    """
    check_same_shape(reference, prediction)
    return _share(prediction.astype(bool), ~reference.astype(bool))


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    size = int(np.count_nonzero(whole))
    return int(np.count_nonzero(part & whole)) / size if size else nan


MISSED_DISTANCE_MM: Final = 256.0
"""Side of the field in which masks are compared: what the papers give for a mask that should not be empty."""

PAPER_DISTANCE = EmptyPolicy(both=0.0, reference=MISSED_DISTANCE_MM, prediction=MISSED_DISTANCE_MM)
"""Rule of SynthStroke and qSynth (Chalcroft et al. 2024): an empty prediction is as far off as the field is wide. The
same here for a prediction where there is no lesion; two empty masks are 0 mm apart.
"""

_PERCENTILE: Final = 95.0


def hd95_mm(
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    empty: EmptyPolicy = PAPER_DISTANCE,
) -> float:
    """Return the 95th percentile of the Hausdorff distance between two masks on the same grid.

    The percentile is taken of the distances from each surface voxel of one mask to the nearest of the other, both
    ways, and the larger of the two is returned, as MONAI's `HausdorffDistanceMetric(percentile=95)` does.

    Args:
        reference: (i, j, k), true (or not zero) inside the lesion.
        prediction: (i, j, k), likewise.
        spacing_mm: voxel size along i, j, k.
        empty: the distance when one of them, or both, are empty.

    Returns:
        Millimetres.

    Raises:
        DimensionError: the masks differ in shape.
    """
    check_same_shape(reference, prediction)
    surfaces = [_surface_mm(mask.astype(bool), spacing_mm) for mask in (reference, prediction)]
    special = empty.score(len(surfaces[0]) == 0, len(surfaces[1]) == 0)
    if special is not None:
        return special
    trees = [cKDTree(surface) for surface in surfaces]
    distances = [trees[1].query(surfaces[0])[0], trees[0].query(surfaces[1])[0]]
    return float(max(np.percentile(found, _PERCENTILE) for found in distances))


def _surface_mm(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Return the positions (n, 3) in mm of the voxels that share a face with what is outside the mask, or
    end the grid.
    """
    if not mask.any():
        return np.empty((0, 3))
    box = box_around(mask)
    inside = box.crop(mask)
    return (np.argwhere(inside & ~binary_erosion(inside)) + box.start) * np.array(spacing_mm)
