"""Compute the next batches in the background while the network trains on this one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from strokelabel.fit.streams import Batch, BatchStream


class PrefetchStream:
    """A stream whose coming batches are computed by one background thread.

    Torch releases the interpreter lock inside its kernels, so a thread is enough, and nothing is copied between
    processes. Values are those of the wrapped stream: a batch is a pure function of its step.

    Args:
        stream: the stream to run ahead of.
        ahead: how many batches to keep ready.
        stride: distance between the steps that will be asked for: the number of processes that share a stream.
    """

    def __init__(self, stream: BatchStream, ahead: int = 2, stride: int = 1) -> None:
        self.stream = stream
        self.ahead = ahead
        self.stride = stride
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._pending: dict[int, Future[Batch]] = {}

    def batch(self, step: int) -> Batch:
        """The batch of a step; asking in order is fast, any order is right."""
        wanted = range(step, step + self.stride * self.ahead + 1, self.stride)
        for stale in self._pending.keys() - set(wanted):
            self._pending.pop(stale).cancel()
        for index in wanted:
            if index not in self._pending:
                self._pending[index] = self._pool.submit(self.stream.batch, index)
        return self._pending.pop(step).result()

    def close(self) -> None:
        """Stop the background thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
