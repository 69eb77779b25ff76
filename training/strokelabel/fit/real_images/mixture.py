"""Batches of volumes and of slabs in turn, so that one optimiser step learns from both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from strokelabel.fit.streams import Batch, BatchStream


@dataclass(frozen=True)
class Part:
    """One of several streams.

    Attributes:
        stream: its batches.
        weight: factor of their loss in the loss of an optimiser step.
    """

    stream: BatchStream
    weight: float = 1.0


class AlternatingStream:
    """Batches of several streams in turn.

    The n-th batch of a part is the batch n of its stream. Where an optimiser step accumulates as many batches as there
    are parts (or a multiple), it has as many of each, and its loss is the sum of the parts' mean losses times their
    weights.

    Args:
        parts: at least one; shapes may differ from part to part.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)

    def batch(self, step: int) -> Batch:
        """The batch at a position; a pure function of it."""
        turn, place = divmod(step, len(self.parts))
        part = self.parts[place]
        # An optimiser step takes the mean over its batches, not the sum.
        return replace(part.stream.batch(turn), weight=part.weight * len(self.parts))


class JoinedStream:
    """The items of several streams in each batch, one stream's after another's.

    Args:
        streams: at least one, with items of one shape.
    """

    def __init__(self, streams: Sequence[BatchStream]) -> None:
        self.streams = tuple(streams)

    def batch(self, step: int) -> Batch:
        """The batch of a step; a pure function of it."""
        parts = [stream.batch(step) for stream in self.streams]
        return Batch(
            torch.cat([part.image for part in parts]),
            torch.cat([part.target for part in parts]),
            torch.cat([part.partial for part in parts]),
        )
