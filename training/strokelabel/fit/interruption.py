"""Stopping on request: a signal or a caller's wish ends training after the current step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self


class Interruption:
    """Whether somebody asked training to stop."""

    def __init__(self, wanted: Callable[[], bool] | None = None) -> None:
        self._wanted = wanted
        self._signalled = False

    def __bool__(self) -> bool:
        return self._signalled or (self._wanted is not None and self._wanted())

    @contextmanager
    def on_signals(self) -> Iterator[Self]:
        """Within the block SIGINT and SIGTERM ask to stop; a second one acts as it did before.

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
