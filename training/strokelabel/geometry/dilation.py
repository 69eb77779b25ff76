"""Dilation of binary volumes, by one voxel at a time."""

from __future__ import annotations

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
