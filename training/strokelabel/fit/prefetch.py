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
    """

    def __init__(self, stream: BatchStream, ahead: int = 2) -> None:
        self.stream = stream
        self.ahead = ahead
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._pending: dict[int, Future[Batch]] = {}

    def batch(self, step: int) -> Batch:
        """The batch of a step; asking in order is fast, any order is right."""
        for stale in [s for s in self._pending if not step <= s <= step + self.ahead]:
            self._pending.pop(stale).cancel()
        for wanted in range(step, step + self.ahead + 1):
            if wanted not in self._pending:
                self._pending[wanted] = self._pool.submit(self.stream.batch, wanted)
        return self._pending.pop(step).result()

    def close(self) -> None:
        """Stop the background thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
