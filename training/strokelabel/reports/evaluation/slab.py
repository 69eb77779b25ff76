"""Two-dimensional scans for networks of volumes: a slice is repeated along its normal, which makes a slab."""

from __future__ import annotations

import numpy as np

SLAB_MM = 48.0
"""Thickness of the slabs that are evaluated: as thick as those that networks are trained with."""


def slab_axis(data: np.ndarray) -> int | None:
    """Axis along which all slices of a volume are the same; None where there is none, as in every scan.

    Args:
        data: (i, j, k).
    """
    for axis in range(3):
        slices = np.moveaxis(data, axis, 0)
        if np.array_equal(slices[0], slices[-1]) and bool((slices == slices[0]).all()):
            return axis
    return None
