"""Voxel overlap and voxel rates of two masks, with a stated score where a mask is empty."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np

from strokelabel.errors import DimensionError


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
