"""Field of view of the network in a scan: as in training, around the brain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil

import numpy as np

from strokelabel.geometry import CropBox
from strokelabel.inference.head import Triple, centered_box, head_box, triple
from strokelabel.metrics import largest_component
from strokelabel.types import ChannelVolume, Volume

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
