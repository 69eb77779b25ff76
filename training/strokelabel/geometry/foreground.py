"""Segmentation of the head from air, generously, and dilation of binary volumes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def dilate_cross(mask: Tensor) -> Tensor:
    """Grow a bool mask (..., x, y, z) by the six neighbours that share a face."""
    grown = mask.clone()
    for axis in (-3, -2, -1):
        _grow_along(grown, mask, axis)
    return grown


def dilate_box(mask: Tensor) -> Tensor:
    """Grow a bool mask (..., x, y, z) by all 26 neighbours."""
    for axis in (-3, -2, -1):
        grown = mask.clone()
        _grow_along(grown, mask, axis)
        mask = grown
    return mask


def _grow_along(grown: Tensor, mask: Tensor, axis: int) -> None:
    """Add to a mask, in place, another one moved by one voxel either way along an axis."""
    size = mask.shape[axis]
    first, last = (torch.narrow(grown, axis, start, size - 1) for start in (0, 1))
    first |= torch.narrow(mask, axis, 1, size - 1)
    last |= torch.narrow(mask, axis, 0, size - 1)


_FLAT_FRACTION = 0.05
"""Share of voxels with one and the same value from which that value is taken for an empty background."""

_BINS = 256
_SAMPLES = 500_000


def foreground_mask(volume: np.ndarray) -> np.ndarray:
    """Return the foreground voxels.

    A value that fills much of the volume, whatever its sign, is the background of a masked scan.
    Otherwise the background is noise: voxels below a point halfway from its mean to Otsu's threshold.

    Args:
        volume: (x, y, z), finite.

    Returns:
        bool (x, y, z); all true when nothing tells the head from the air.
    """
    flat = _flat_value(volume)
    if flat is not None:
        return volume != flat
    sample = _sample(volume)
    low, high = np.percentile(sample, (0.0, 99.0))  # without this, one bright vessel shifts the threshold
    if low >= high:
        return np.ones(volume.shape, dtype=bool)
    threshold = _otsu(np.clip(sample, low, high))
    background = float(sample[sample <= threshold].mean())
    return volume > (background + threshold) / 2


def _sample(volume: np.ndarray) -> np.ndarray:
    """Sample about half a million voxels, evenly spread."""
    flat = volume.ravel()
    return flat[:: max(1, flat.size // _SAMPLES) | 1]  # odd steps do not fall in with even sides


def _flat_value(volume: np.ndarray) -> float | None:
    values, counts = np.unique(_sample(volume), return_counts=True)
    most = counts.argmax()
    return values[most] if counts[most] >= _FLAT_FRACTION * counts.sum() and len(values) > 1 else None


def _otsu(sample: np.ndarray) -> float:
    """Return the threshold that separates two classes best (Otsu 1979, "A threshold selection method")."""
    counts, edges = np.histogram(sample, bins=_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    means_below = sums[:-1] / np.maximum(below, 1)
    means_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1:-1][(below * above * (means_below - means_above) ** 2).argmax()])
