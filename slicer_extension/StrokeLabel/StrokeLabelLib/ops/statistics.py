"""Numbers about masks."""

from __future__ import annotations

import numpy as np

from .islands import bounding_box, label_islands


def volume_ml(mask: np.ndarray, voxel_ml: float) -> float:
    """Return the volume of a mask (i, j, k) in ml."""
    return float(np.count_nonzero(mask)) * voxel_ml


def count_islands(mask: np.ndarray) -> int:
    """Return the number of parts that do not touch, not even at corners."""
    box = bounding_box(mask)
    return 0 if box is None else label_islands(mask[box])[1]


def island_volumes_ml(mask: np.ndarray, voxel_ml: float) -> list[float]:
    """Return the volumes of the parts in ml, largest first."""
    labels, _ = label_islands(mask)
    return sorted((float(n) * voxel_ml for n in np.bincount(labels.ravel())[1:]), reverse=True)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Return the overlap of two masks from 0 to 1; 1 if both are empty."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 1.0 if total == 0 else 2.0 * float(np.count_nonzero(a & b)) / total
