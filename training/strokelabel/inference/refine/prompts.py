"""Prompts of an annotator on the grid of the scan, and options of how far they change a mask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import isfinite
from numbers import Integral

import numpy as np

from strokelabel.errors import DimensionError, LabelMapError, OptionError
from strokelabel.types import LabelVolume


@dataclass(frozen=True)
class RefineOptions:
    """Limits of what one prompt may change.

    Attributes:
        reach_mm: nothing further than this from a click or stroke changes.
        island_reach_mm: a click that misses an island still removes the nearest one this close.
        region_threshold: "add this region" takes the voxels around the click of at least this probability.
        region_reach_mm: an added region ends this far from its click.
        region_volume_ml: an added region is no larger than this.
        max_voxels: the neighbourhood of a prompt is coarsened to at most this many voxels to be computed in.

    Raises:
        OptionError: a value that is not a positive number, or a threshold of 1 or more.
    """

    reach_mm: float = 40.0
    island_reach_mm: float = 3.0
    region_threshold: float = 0.1
    region_reach_mm: float = 30.0
    region_volume_ml: float = 50.0
    max_voxels: int = 120_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isfinite(value) and value > 0):
                raise OptionError(f"Expected {field.name} above zero, got {value}.")
        if self.region_threshold >= 1:
            raise OptionError(
                f"Expected a region_threshold between 0 and 1, got {self.region_threshold}; 0.1 is usual."
            )


LESION, NOT_LESION = 1, 2
"""Values of painted labels; 0 is unpainted."""

Voxel = tuple[int, int, int]


@dataclass(frozen=True)
class Click:
    """A voxel (i, j, k) that is lesion, or is not; what is like it around it follows."""

    voxel: Voxel
    lesion: bool


@dataclass(frozen=True, eq=False)
class Scribbles:
    """Strokes: (i, j, k), 0 unpainted, 1 lesion, 2 not lesion; what is like them around them follows."""

    labels: LabelVolume


@dataclass(frozen=True)
class RemoveIsland:
    """Prompt that the lesion (26-connected) at a voxel (i, j, k), or the nearest one close by, is not lesion."""

    voxel: Voxel


@dataclass(frozen=True)
class AddRegion:
    """Prompt that the region around a voxel (i, j, k) is lesion: where it is probable, or as bright or dark as the
    voxel.
    """

    voxel: Voxel


Prompt = Click | Scribbles | RemoveIsland | AddRegion


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts in the order in which they were given; where two disagree about a voxel, the later one holds.

    Attributes:
        new: what to act on.
        kept: (i, j, k), 0, 1 or 2 as in `Scribbles`: what was painted in earlier rounds. It stays as it is, but
            nothing grows from it.
    """

    new: tuple[Prompt, ...]
    kept: LabelVolume | None = None


def painted_labels(prompts: Prompts, shape: Voxel) -> LabelVolume:
    """Return the annotator's strokes so far, to be passed as `kept` in the next round.

    Args:
        prompts: their clicks and scribbles count; "remove" and "add" paint nothing.
        shape: of the scan.

    Returns:
        (i, j, k) uint8: 0 unpainted, 1 lesion, 2 not lesion.
    """
    painted = np.zeros(shape, np.uint8) if prompts.kept is None else prompts.kept.astype(np.uint8)
    for prompt in prompts.new:
        paint(prompt, painted)
    return painted


def paint(prompt: Prompt, painted: LabelVolume) -> None:
    """Add to painted labels (i, j, k), in place, what one prompt paints."""
    if isinstance(prompt, Click):
        painted[prompt.voxel] = LESION if prompt.lesion else NOT_LESION
    elif isinstance(prompt, Scribbles):
        np.copyto(painted, prompt.labels, where=prompt.labels > 0, casting="unsafe")


def check_prompts(prompts: Prompts, shape: Voxel) -> None:
    """Refuse prompts that do not fit the scan.

    Raises:
        OptionError: a voxel outside the scan, or not whole numbers.
        DimensionError: painted labels on another grid.
        LabelMapError: painted values other than 0, 1 and 2.
    """
    if prompts.kept is not None:
        _check_painted(prompts.kept, shape)
    for prompt in prompts.new:
        if isinstance(prompt, Scribbles):
            _check_painted(prompt.labels, shape)
        else:
            check_voxel(prompt.voxel, shape)


def check_voxel(voxel: Iterable[object], shape: Voxel) -> None:
    """Refuse a voxel that is not one of the scan's.

    Raises:
        OptionError: saying which.
    """
    indices = tuple(voxel)
    whole = len(indices) == 3 and all(isinstance(i, Integral) for i in indices)
    if not whole:
        raise OptionError(f"Expected a voxel as three whole numbers (i, j, k), got {indices}.")
    if not all(0 <= int(i) < size for i, size in zip(indices, shape, strict=True)):  # type: ignore[call-overload]
        raise OptionError(
            f"Expected a voxel inside the scan of {shape} voxels, got {indices}; "
            "send voxel indices (i, j, k) that count from 0, not millimetres."
        )


def _check_painted(labels: np.ndarray, shape: Voxel) -> None:
    if labels.shape != tuple(shape):
        raise DimensionError(
            f"Expected painted labels on the scan's grid of {shape} voxels, found {labels.shape}; "
            "export them with the scan as reference."
        )
    if labels.dtype.kind not in "biu" or labels.min() < 0 or labels.max() > NOT_LESION:
        raise LabelMapError(
            f"Expected painted labels 0 (none), 1 (lesion) and 2 (not lesion), found {labels.dtype} "
            f"of {labels.min()} to {labels.max()}."
        )
