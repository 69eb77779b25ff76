"""Numbers about masks, and regions where the model is uncertain."""

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


LOW, HIGH = 0.3, 0.7


def uncertain_regions(probability: np.ndarray, min_voxels: int = 5) -> list[tuple[int, int, int]]:
    """Return one voxel in each connected region whose probability is between 0.3 and 0.7, largest region first.

    Args:
        probability: of lesion (i, j, k).
        min_voxels: smaller regions are left out: every outline has some.

    Returns:
        The voxel of each region that is nearest to 0.5.
    """
    labels, count = label_islands((probability > LOW) & (probability < HIGH))
    if count == 0:
        return []
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    inside = np.flatnonzero(labels.ravel())
    doubt = np.abs(probability.ravel()[inside] - 0.5)
    order = inside[np.lexsort((doubt, -sizes[labels.ravel()[inside]], labels.ravel()[inside]))]
    first = {int(labels.ravel()[at]): int(at) for at in order[::-1]}
    chosen = sorted((n for n in first if sizes[n] >= min_voxels), key=lambda n: -sizes[n])
    places = (np.unravel_index(first[n], probability.shape) for n in chosen)
    return [(int(i), int(j), int(k)) for i, j, k in places]
