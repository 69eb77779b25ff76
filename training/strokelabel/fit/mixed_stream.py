"""Two streams in one: real and synthetic items in a fixed ratio, evenly spread."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Protocol

import torch

from strokelabel.errors import TrainingError
from strokelabel.fit.streams import Batch, ValidationStream


class ItemStream(Protocol):
    """A stream whose items can be asked for one by one."""

    def items(self, indices: Sequence[int]) -> Batch:
        """The items at these positions, as a batch; each a pure function of its position."""
        ...


class MixedStream:
    """Real items at a fixed fraction of positions, synthetic ones at all others.

    The source is decided item by item, from its position alone, and real items lie as evenly as the fraction allows:
    among any n items in a row there are between floor(n * fraction) and ceil(n * fraction). Batches, accumulated
    batches and processes therefore share them out alike, whatever their sizes.

    Args:
        synthetic: asked for the items at their positions in the mixed stream, which are then those of a stream
            without real items.
        real: asked for its items in order: the n-th real item of the mixed stream is its item n.
        fraction: of real items, above 0 and below 1.
        batch_size: items per batch.

    Raises:
        TrainingError: the fraction is not between 0 and 1.
    """

    def __init__(self, synthetic: ItemStream, real: ItemStream, fraction: float, batch_size: int) -> None:
        if not 0 < fraction < 1:
            raise TrainingError(f"expected a fraction of real items above 0 and below 1, got {fraction}")
        self.synthetic = synthetic
        self.real = real
        self.fraction = fraction
        self.batch_size = batch_size

    def batch(self, step: int) -> Batch:
        """The batch of a step, its items in the order of their positions."""
        first = step * self.batch_size
        return self.items(range(first, first + self.batch_size))

    def items(self, indices: Sequence[int]) -> Batch:
        """The items at these positions."""
        real = [place for place, index in enumerate(indices) if self.is_real(index)]
        synthetic = [place for place in range(len(indices)) if place not in real]
        parts = []
        if synthetic:
            parts.append(self.synthetic.items([indices[place] for place in synthetic]))
        if real:
            parts.append(self.real.items([self.real_index(indices[place]) for place in real]))
        return _in_order(parts, [*synthetic, *real])

    def is_real(self, index: int) -> bool:
        """Whether the item at a position is real."""
        return self.real_index(index + 1) > self.real_index(index)

    def real_index(self, index: int) -> int:
        """How many real items come before a position."""
        return floor(index * self.fraction)


class WithoutGaps:
    """A synthetic stream for `MixedStream` that leaves out none of its items where the mixed stream has real ones.

    Args:
        stream: asked for its items in order: the n-th synthetic item of the mixed stream is its item n.
        fraction: of real items in the mixed stream.
    """

    def __init__(self, stream: ItemStream, fraction: float) -> None:
        self.stream = stream
        self.fraction = fraction

    def items(self, indices: Sequence[int]) -> Batch:
        """The items at these positions of the mixed stream, which must not be real ones."""
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
        """The batch at a position.

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
