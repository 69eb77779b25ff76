"""Streams of the training loop: batches of images with targets, each a pure function of its index; also two in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import Protocol, Self

import torch
from torch import Tensor

from strokelabel.errors import TrainingError
from strokelabel.types import ClassBatch, ImageBatch


@dataclass(frozen=True)
class Batch:
    """Images with the classes of their voxels.

    Attributes:
        image: (batch, 1, x, y, z) float32, normalised as for prediction.
        target: (batch, x, y, z) uint8 class indices.
        partial: (batch,) bool; true where only "lesion or not" is known, so that the target holds nothing but
            the lesion class and background.
        weight: factor of the batch's loss.
    """

    image: ImageBatch
    target: ClassBatch
    partial: Tensor
    weight: float = 1.0

    def to(self, device: torch.device) -> Self:
        """Move the batch to a device; `partial` stays where it is, since only the host reads it."""
        image = self.image.to(device, non_blocking=True)
        target = self.target.to(device, non_blocking=True)
        return replace(self, image=image, target=target)


class BatchStream(Protocol):
    """An endless seeded stream of training batches."""

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0.

        A pure function of `step`: asking twice gives the same values, asking out of order changes nothing.
        Training can therefore go on at any step without stored generator state. One optimiser step that
        accumulates n batches over w processes takes the n*w batches that follow those of the step before.
        """
        ...


class ValidationStream(Protocol):
    """A finite list of validation batches; the same ones every time."""

    def __len__(self) -> int:
        """Return the number of batches."""
        ...

    def batch(self, index: int) -> Batch:
        """Return the batch at an index, from 0 to the length less one; a pure function of it."""
        ...


class ItemStream(Protocol):
    """A stream whose items can be requested one by one."""

    def items(self, indices: Sequence[int]) -> Batch:
        """Return the items at these positions, as a batch; each a pure function of its position."""
        ...


class MixedStream:
    """Items of another kind at a fixed fraction of positions, those of the main stream at all others.

    The source is decided item by item, from its position alone, and other items lie as evenly as the fraction allows:
    among any n items in a row there are between floor(n * fraction) and ceil(n * fraction). Batches, accumulated
    batches and processes therefore share them out alike, whatever their sizes.

    Args:
        main: source of the items at their positions in the mixed stream, which are then those of a stream without
            others.
        other: source of further items in order: the n-th other item of the mixed stream is its item n.
        fraction: of other items, above 0 and below 1.
        batch_size: items per batch.

    Raises:
        TrainingError: the fraction is not between 0 and 1.
    """

    def __init__(self, main: ItemStream, other: ItemStream, fraction: float, batch_size: int) -> None:
        if not 0 < fraction < 1:
            raise TrainingError(f"expected a fraction above 0 and below 1, got {fraction}")
        self.main = main
        self.other = other
        self.fraction = fraction
        self.batch_size = batch_size

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, its items in the order of their positions."""
        first = step * self.batch_size
        return self.items(range(first, first + self.batch_size))

    def items(self, indices: Sequence[int]) -> Batch:
        """Return the items at these positions."""
        others = [place for place, index in enumerate(indices) if self.is_other(index)]
        mains = [place for place in range(len(indices)) if place not in others]
        parts = []
        if mains:
            parts.append(self.main.items([indices[place] for place in mains]))
        if others:
            parts.append(self.other.items([self.other_index(indices[place]) for place in others]))
        return _in_order(parts, [*mains, *others])

    def is_other(self, index: int) -> bool:
        """Tell whether the item at a position is of the other stream."""
        return self.other_index(index + 1) > self.other_index(index)

    def other_index(self, index: int) -> int:
        """Return the number of items of the other stream before a position."""
        return floor(index * self.fraction)


class WithoutGaps:
    """A main stream for `MixedStream` that leaves out none of its items where the mixed stream has others.

    Args:
        stream: source of the items in order: the n-th main item of the mixed stream is its item n.
        fraction: of other items in the mixed stream.
    """

    def __init__(self, stream: ItemStream, fraction: float) -> None:
        self.stream = stream
        self.fraction = fraction

    def items(self, indices: Sequence[int]) -> Batch:
        """Return the items at these positions of the mixed stream, which must all be its own."""
        return self.stream.items([index - floor(index * self.fraction) for index in indices])


class JoinedValidation:
    """Validation streams one after another.

    Args:
        parts: each with batches of as many items.
    """

    def __init__(self, parts: Sequence[ValidationStream]) -> None:
        self.parts = tuple(parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def batch(self, index: int) -> Batch:
        """Return the batch at a position.

        Raises:
            IndexError: it is beyond the end.
        """
        for part in self.parts:
            if index < len(part):
                return part.batch(index)
            index -= len(part)
        raise IndexError(f"expected a position below {len(self)}")


def _in_order(parts: list[Batch], places: list[int]) -> Batch:
    """Join batches and put their items where they belong."""
    if len(parts) == 1:
        return parts[0]
    order = torch.argsort(torch.tensor(places))
    image = torch.cat([part.image for part in parts])
    target = torch.cat([part.target for part in parts])
    partial = torch.cat([part.partial for part in parts])
    on_device = order.to(image.device)
    return Batch(image[on_device], target[on_device], partial[order])
