"""Regions where the model is uncertain."""

from __future__ import annotations

import numpy as np

from .islands import label_islands

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
