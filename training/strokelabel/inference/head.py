"""Position of the head: a box around it, from intensities alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from strokelabel.geometry import CropBox, box_around
from strokelabel.metrics import largest_component
from strokelabel.types import Volume

_BLOCK_MM = 4.0
_ABOVE_AIR = 0.1
"""Tissue is at least this fraction of the way from air to the brightest tissue."""

Triple = tuple[int, int, int]


def head_box(volume: Volume, spacing_mm: float, margin_mm: float = 4.0) -> CropBox:
    """Return the box around the head, or around the brain of a skull-stripped scan.

    Judged on means over blocks of about 4 mm, in which noise averages out: the largest component of what is
    clearly brighter than the air, without the thin bridges that ghosts make. A volume in which nothing stands
    out is returned whole.

    Args:
        volume: (x, y, z), canonical, air near zero.
        spacing_mm: voxel size.
        margin_mm: kept on each side, as far as the volume goes.
    """
    factor = max(1, round(_BLOCK_MM / spacing_mm))
    tissue = _tissue_blocks(block_means(volume, factor))
    margin = round(margin_mm / spacing_mm)
    if not tissue.any():
        return CropBox(triple(volume.shape), (0, 0, 0), triple(volume.shape))
    blocks = box_around(tissue)
    start = [max(0, first * factor - margin) for first in blocks.start]
    stop = [min(n, last * factor + margin) for n, last in zip(volume.shape, blocks.stop, strict=True)]
    return CropBox(triple(volume.shape), triple(start), triple(stop))


def block_means(volume: Volume, factor: int) -> Volume:
    """Return the means over cubes of `factor` voxels; the last cube along an axis repeats the edge."""
    pads = [(0, -size % factor) for size in volume.shape]
    padded = np.pad(volume, pads, mode="edge")
    x, y, z = (size // factor for size in padded.shape)
    return padded.reshape(x, factor, y, factor, z, factor).mean(axis=(1, 3, 5))


def centered_box(full_shape: Triple, center: np.ndarray, sides: Triple) -> CropBox:
    """Return the box of `sides` voxels about `center` (voxel index, may be fractional), shifted into the grid."""
    start = []
    for middle, side, size in zip(center, sides, full_shape, strict=True):
        first = round(float(middle) + 0.5 - side / 2)
        start.append(min(max(first, 0), size - side) if side <= size else (size - side) // 2)
    return CropBox(full_shape, triple(start), triple([a + b for a, b in zip(start, sides, strict=True)]))


def _tissue_blocks(blocks: Volume) -> np.ndarray:
    """Return the blocks that are clearly brighter than air, in one piece."""
    air = float(np.median([blocks[x, y, z] for x in (0, -1) for y in (0, -1) for z in (0, -1)]))
    brighter = blocks[blocks > air]
    if brighter.size == 0:
        return np.zeros(blocks.shape, dtype=bool)
    high = float(np.percentile(brighter, 98))
    tissue = blocks > air + _ABOVE_AIR * (high - air)
    opened = ndimage.binary_dilation(ndimage.binary_erosion(tissue, border_value=1))
    return largest_component(opened if opened.any() else tissue)


def triple(values: Iterable[int]) -> Triple:
    """Return three integers as a tuple."""
    x, y, z = (int(value) for value in values)
    return x, y, z
