"""Painting that keeps to intensities."""

from __future__ import annotations

import numpy as np

from ..errors import OperationError


def usual_intensities(image: np.ndarray, mask: np.ndarray, share: float = 0.9) -> tuple[float, float]:
    """Return the range that holds the middle `share` of the image's values inside a mask.

    Raises:
        OperationError: nothing is painted, or a share outside 0 to 1.
    """
    if not mask.any():
        raise OperationError("Paint something first: the range of brightness is taken from it.")
    if not 0 < share <= 1:
        raise OperationError(f"Expected a share above 0 and up to 1, found {share}.")
    tail = 50 * (1 - share)
    low, high = np.percentile(image[mask], (tail, 100 - tail))
    return float(low), float(high)


def limit_to_intensities(
    before: np.ndarray, after: np.ndarray, image: np.ndarray, low: float, high: float
) -> np.ndarray:
    """Keep only those added voxels whose value is within a range; erased voxels stay erased.

    Args:
        before, after: booleans (i, j, k).
        image: (i, j, k).
        low, high: the range, both ends included.
    """
    return after & (before | ((image >= low) & (image <= high)))
