"""Two streams in one, such as synthetic and real items: in a fixed ratio, evenly spread."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Protocol

import torch

from strokelabel.errors import TrainingError
from strokelabel.fit.data.stream import Batch, ValidationStream


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
