"""Next batches, computed while the network trains on this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Generic, cast

import torch
from torch import Tensor

from strokelabel.fit.loop.objective import BatchType, TrainingStream


class PrefetchStream(Generic[BatchType]):
    """A stream whose coming batches are computed by one background thread.

    Torch releases the interpreter lock inside its kernels, so a thread is enough, and nothing is copied between
    processes. Values are those of the wrapped stream: a batch is a pure function of its step.

    Args:
        stream: the stream to run ahead of.
        ahead: how many batches to keep ready.
        stride: distance between the steps that will be requested: the number of processes that share a stream.
    """

    def __init__(self, stream: TrainingStream[BatchType], ahead: int = 2, stride: int = 1) -> None:
        self.stream = stream
        self.ahead = ahead
        self.stride = stride
        self._lane: CudaLane | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._pending: dict[int, Future[BatchType | LaneBatch[BatchType]]] = {}

    def feed(self, device: torch.device) -> None:
        """Deliver batches on the device where the network trains; called before the first batch.

        On a GPU they are made or copied by a CUDA stream of their own (see `CudaLane`), so that the GPU works on the
        next batches whenever the network leaves it room.
        """
        self._lane = CudaLane(device) if device.type == "cuda" else None

    def batch(self, step: int) -> BatchType:
        """Return the batch of a step; requests in order are fast, any order is right."""
        wanted = range(step, step + self.stride * self.ahead + 1, self.stride)
        for stale in self._pending.keys() - set(wanted):
            self._pending.pop(stale).cancel()
        for index in wanted:
            if index not in self._pending:
                self._pending[index] = self._pool.submit(self._make, index)
        made = self._pending.pop(step).result()
        if self._lane is not None and isinstance(made, LaneBatch):
            return self._lane.receive(made)
        return cast(BatchType, made)

    def close(self) -> None:
        """Stop the background thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _make(self, index: int) -> BatchType | LaneBatch[BatchType]:
        """Make the batch of an index, or the beginning of it, in the background."""
        return self._lane.make(self.stream.batch, index) if self._lane else self.stream.batch(index)


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
        """Return the batch, for use on the current stream, which waits for it; called from the thread that trains."""
        current = torch.cuda.current_stream(self.device)
        current.wait_event(made.ready)
        for tensor in batch_tensors(made.batch).values():
            if tensor.is_cuda:  # or else the lane would reuse its memory while the network reads it
                tensor.record_stream(current)
        return made.batch


def page_locked(batch: BatchType) -> BatchType:
    """Return a batch with its CPU tensors in page-locked memory, from which a GPU copies on its own.

    Only dataclasses can be changed like that; others, and tensors that are on a GPU already, stay as they are.
    """
    moved = {name: value.pin_memory() for name, value in batch_tensors(batch).items() if not value.is_cuda}
    return cast(BatchType, replace(cast(Any, batch), **moved)) if moved and is_dataclass(batch) else batch


def batch_tensors(batch: object) -> dict[str, Tensor]:
    """Return the tensors that a batch holds, by attribute."""
    return {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
