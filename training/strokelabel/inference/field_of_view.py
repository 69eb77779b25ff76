"""Field of view of the network in a scan: as in training, around the head or brain, found from intensities alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil

import numpy as np
from scipy import ndimage

from strokelabel.geometry import CropBox, box_around
from strokelabel.metrics import largest_component
from strokelabel.types import ChannelVolume, Volume

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


_MUCH_LARGER = 1.15
"""A head larger than the field of view by more than this factor along an axis is searched for its brain."""

_BRAIN_MARGIN_MM = 8.0
_TAILS = (1.0, 99.0)
"""Percentiles of the brain's voxels between which its middle is taken, so that a leak does not move it."""

Classify = Callable[[CropBox], ChannelVolume]
"""Predicts probabilities (classes, x, y, z) in a box."""


def head_view(volume: Volume, spacing_mm: float, multiple: int) -> CropBox:
    """Return the whole head in one box, sides a multiple of `multiple`.

    Args:
        volume: (x, y, z), canonical, air near zero.
        spacing_mm: voxel size.
        multiple: what the network asks for.
    """
    head = head_box(volume, spacing_mm)
    return _around(head, _round_up(head.shape, multiple))


def brain_view(
    volume: Volume, spacing_mm: float, multiple: int, field_mm: tuple[float, float, float], classify: Classify
) -> CropBox:
    """Return the network's field of view, around the brain.

    Centred on the head where the head fits; where it is much larger, a first pass over the whole head finds
    the brain, as the largest piece that is not background.

    Args:
        volume: (x, y, z), canonical, air near zero.
        spacing_mm: voxel size.
        multiple: what the network asks for.
        field_mm: field of view of the training images.
        classify: used for the first pass.
    """
    head = head_box(volume, spacing_mm)
    field = tuple(side / spacing_mm for side in field_mm)
    if all(n <= side * _MUCH_LARGER for n, side in zip(head.shape, field, strict=True)):
        sides = [max(n, side) for n, side in zip(head.shape, field, strict=True)]
        return _around(head, _round_up(sides, multiple))
    whole = _around(head, _round_up(head.shape, multiple))
    brain = _brain_extent(classify(whole))
    if brain is None:
        return whole
    low, high = brain
    margin = 2 * _BRAIN_MARGIN_MM / spacing_mm
    sides = [max(side, n + margin) for side, n in zip(field, high - low, strict=True)]
    return centered_box(triple(volume.shape), whole.start + (low + high) / 2, _round_up(sides, multiple))


def _brain_extent(probabilities: ChannelVolume) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the lowest and highest voxel index (3,) of the brain, tails left out; None where all is background."""
    voxels = np.argwhere(largest_component(probabilities.argmax(axis=0) > 0))
    if len(voxels) == 0:
        return None
    low, high = np.percentile(voxels, _TAILS, axis=0)
    return low, high


def _around(box: CropBox, sides: Triple) -> CropBox:
    middle = (np.array(box.start) + np.array(box.stop) - 1) / 2
    return centered_box(box.full_shape, middle, sides)


def _round_up(sides: Iterable[float], multiple: int) -> Triple:
    return triple(ceil(side / multiple) * multiple for side in sides)
