"""Compute the next batches in the background while the network trains on this one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, cast

import torch

from strokelabel.fit.cuda_lane import CudaLane, LaneBatch
from strokelabel.fit.objective import BatchType, TrainingStream


class PrefetchStream(Generic[BatchType]):
    """A stream whose coming batches are computed by one background thread.

    Torch releases the interpreter lock inside its kernels, so a thread is enough, and nothing is copied between
    processes. Values are those of the wrapped stream: a batch is a pure function of its step.

    Args:
        stream: the stream to run ahead of.
        ahead: how many batches to keep ready.
        stride: distance between the steps that will be asked for: the number of processes that share a stream.
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
        """The batch of a step; asking in order is fast, any order is right."""
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
        """In the background: the batch of an index, or the beginning of it."""
        return self._lane.make(self.stream.batch, index) if self._lane else self.stream.batch(index)
