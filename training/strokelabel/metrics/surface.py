"""Distance between the surfaces of two masks."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from strokelabel.geometry import box_around
from strokelabel.metrics.overlap import EmptyPolicy, check_same_shape

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
