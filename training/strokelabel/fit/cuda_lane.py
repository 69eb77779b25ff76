"""Making batches on a GPU beside the network's own work.

A lane is a CUDA stream of its own: batches are computed there, or copied there from page-locked memory, while the
network trains on the default stream. Events tell the GPU what has to wait for what; the interpreter waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Generic, cast

import torch
from torch import Tensor

from strokelabel.fit.objective import BatchType


@dataclass(frozen=True)
class LaneBatch(Generic[BatchType]):
    """A batch that the lane may still be computing, and the event after which it is there."""

    batch: BatchType
    ready: torch.cuda.Event


class CudaLane:
    """A CUDA stream for batches.

    Args:
        device: the GPU; work already begun on its current stream, such as uploads that batches are made from, comes
            first.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)
        self._stream.wait_stream(torch.cuda.current_stream(device))

    def make(self, make: Callable[[int], BatchType], index: int) -> LaneBatch[BatchType]:
        """Start making the batch of an index in the lane; called from the thread that prefetches."""
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            batch = page_locked(make(index)).to(self.device)
            return LaneBatch(batch, self._stream.record_event())

    def receive(self, made: LaneBatch[BatchType]) -> BatchType:
        """The batch, for use on the current stream, which waits for it; called from the thread that trains."""
        current = torch.cuda.current_stream(self.device)
        current.wait_event(made.ready)
        for tensor in batch_tensors(made.batch).values():
            if tensor.is_cuda:  # or else the lane would reuse its memory while the network reads it
                tensor.record_stream(current)
        return made.batch


def page_locked(batch: BatchType) -> BatchType:
    """A batch with its CPU tensors in page-locked memory, from which a GPU copies on its own.

    Only dataclasses can be changed like that; others, and tensors that are on a GPU already, stay as they are.
    """
    moved = {name: value.pin_memory() for name, value in batch_tensors(batch).items() if not value.is_cuda}
    return cast(BatchType, replace(cast(Any, batch), **moved)) if moved and is_dataclass(batch) else batch


def batch_tensors(batch: object) -> dict[str, Tensor]:
    """Tensors that a batch holds, by attribute."""
    return {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
