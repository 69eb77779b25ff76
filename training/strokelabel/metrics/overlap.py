"""Voxel overlap of two masks."""

from __future__ import annotations

import numpy as np

from strokelabel.errors import DimensionError
from strokelabel.metrics.empty import ISLES_OVERLAP, EmptyPolicy


def dice(reference: np.ndarray, prediction: np.ndarray, empty: EmptyPolicy = ISLES_OVERLAP) -> float:
    """Dice coefficient, 2|A∩B| / (|A| + |B|), of two masks on the same grid.

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
