"""Interpolation between painted slices."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..errors import OperationError


def fill_between_slices(mask: np.ndarray, axis: int = 2) -> np.ndarray:
    """Interpolate the outline between painted slices.

    Signed distances to the outline are interpolated linearly between neighbours that are painted (Raya and Udupa,
    "Shape-based interpolation of multidimensional objects", IEEE TMI 1990). Slices that are painted stay.

    Args:
        mask: booleans (i, j, k).
        axis: across the slices.

    Raises:
        OperationError: fewer than two painted slices.
    """
    stack = np.moveaxis(mask, axis, 0)
    painted = np.flatnonzero(stack.any(axis=(1, 2)))
    if painted.size < 2:
        raise OperationError("Paint the lesion on at least two slices first; those between are filled.")
    result = stack.copy()
    for first, last in zip(painted[:-1], painted[1:]):
        if last - first > 1:
            near, far = _signed_distance(stack[first]), _signed_distance(stack[last])
            for index in range(first + 1, last):
                share = (index - first) / (last - first)
                result[index] = (1 - share) * near + share * far < 0
    return np.moveaxis(result, 0, axis)


def _signed_distance(slice_: np.ndarray) -> np.ndarray:
    """Return the distance to the outline in voxels: negative inside."""
    return ndimage.distance_transform_edt(~slice_) - ndimage.distance_transform_edt(slice_)
