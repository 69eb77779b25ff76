"""Windows over a volume that is too large for one pass, and the weighted mean of what they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import ceil, prod

import numpy as np

_SIGMA = 0.125
"""Standard deviation of a window's weights, as a fraction of its side."""

_LEAST_WEIGHT = 1e-3
_SHRINK = 0.75

Window = tuple[int, ...]
"""Sides of a window, voxels."""


def window_shape(shape: tuple[int, ...], multiple: int, max_voxels: int) -> Window:
    """Return the largest window of at most `max_voxels`: the longest side shrinks until the window fits.

    Args:
        shape: sides of the volume, multiples of `multiple`.
        multiple: sides stay multiples of this, and at least this.
        max_voxels: most voxels of a window.
    """
    sides = list(shape)
    while prod(sides) > max_voxels and max(sides) > multiple:
        longest = sides.index(max(sides))
        sides[longest] = max(multiple, int(sides[longest] * _SHRINK) // multiple * multiple)
    return tuple(sides)


def over_windows(
    volume: np.ndarray, window: Window, overlap: float, run: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return what a network gives for windows of a volume, weighted by a Gaussian about each window's middle.

    Args:
        volume: (1, channels, x, y, z), no side smaller than the window's.
        window: its sides.
        overlap: fraction by which windows overlap, in [0, 1).
        run: maps (1, channels, *window) to (1, outputs, *window).

    Returns:
        float32 (1, outputs, x, y, z).
    """
    weights = _weights(window)
    total: np.ndarray | None = None
    sums = np.zeros(volume.shape[2:], np.float32)
    for x, y, z in _places(volume.shape[2:], window, overlap):
        found = run(np.ascontiguousarray(volume[:, :, x, y, z]))
        if total is None:
            total = np.zeros((1, found.shape[1], *volume.shape[2:]), np.float32)
        total[:, :, x, y, z] += found * weights
        sums[x, y, z] += weights
    assert total is not None
    total /= sums
    return total


def _places(shape: tuple[int, ...], window: Window, overlap: float) -> Iterator[tuple[slice, ...]]:
    """Yield the windows that cover a volume; the last along an axis ends with it."""
    starts = []
    for size, side in zip(shape, window, strict=True):
        step = side if side == size else max(1, int(side * (1 - overlap)))
        count = ceil((size - side) / step) + 1
        starts.append([min(index * step, size - side) for index in range(count)])
    for corner in product(*starts):
        yield tuple(slice(first, first + side) for first, side in zip(corner, window, strict=True))


def _weights(window: Window) -> np.ndarray:
    """Return the weights of a window's voxels, float32 (x, y, z), 1 in the middle."""
    weights = np.ones(window, np.float32)
    for axis, side in enumerate(window):
        distance = (np.arange(side) - (side - 1) / 2) / (_SIGMA * side)
        shape = [-1 if other == axis else 1 for other in range(len(window))]
        weights *= np.exp(-(distance**2) / 2).astype(np.float32).reshape(shape)
    return np.maximum(weights, _LEAST_WEIGHT)
