"""Voxel rates: how much of the lesion was found, and how much of the rest was called lesion."""

from __future__ import annotations

from math import nan

import numpy as np

from strokelabel.metrics.overlap import check_same_shape


def true_positive_rate(reference: np.ndarray, prediction: np.ndarray) -> float:
    """Share of the reference's voxels that are predicted, TP / (TP + FN); NaN where the reference is empty.

    Args:
        reference: (i, j, k), true (or not zero) inside the lesion.
        prediction: (i, j, k), likewise.

    Raises:
        DimensionError: the masks differ in shape.
    """
    check_same_shape(reference, prediction)
    return _share(prediction.astype(bool), reference.astype(bool))


def false_positive_rate(reference: np.ndarray, prediction: np.ndarray) -> float:
    """Share of the other voxels that are predicted, FP / (FP + TN); NaN where the reference fills the grid.

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
