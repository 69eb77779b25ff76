"""Stopping on request, and the agreement of all processes of a run to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

import torch
import torch.distributed
from lightning_fabric import Fabric


class Interruption:
    """Request to stop training."""

    def __init__(self, wanted: Callable[[], bool] | None = None) -> None:
        self._wanted = wanted
        self._signalled = False

    def __bool__(self) -> bool:
        return self._signalled or (self._wanted is not None and self._wanted())

    @contextmanager
    def on_signals(self) -> Iterator[Self]:
        """Ask to stop on SIGINT and SIGTERM within the block; a second one acts as it did before.

        Outside the main thread, where Python allows no signal handlers, the block changes nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def request_stop(number: int, frame: FrameType | None) -> None:
            self._signalled = True
            signal.signal(number, previous[signal.Signals(number)])

        for number in previous:
            signal.signal(number, request_stop)
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class Agreement:
    """Small numbers exchanged between processes on the CPU, so that no GPU has to be waited for.

    Args:
        fabric: launched; with one process, everything is agreed at once.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._group: Any = torch.distributed.new_group(backend="gloo") if fabric.world_size > 1 else None

    def largest(self, *values: int) -> list[int]:
        """Return the maximum of each value over all processes; every process must call it.

        Raises:
            RuntimeError: another process has ended.
        """
        if self._group is None:
            return list(values)
        table = torch.tensor(values)
        torch.distributed.all_reduce(table, torch.distributed.ReduceOp.MAX, group=self._group)
        return [int(value) for value in table]
