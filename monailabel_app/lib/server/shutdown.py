"""A server that is told to end takes the processes of its background tasks along.

MONAI Label leaves a training running when it is terminated.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import psutil
from monailabel.utils.async_tasks.utils import background_executors

logger = logging.getLogger("strokelabel.server")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def end_tasks_with_the_server() -> None:
    """Put ourselves before the server's own handling of its signals."""
    if threading.current_thread() is not threading.main_thread():
        return  # signals are handled in the main thread; a server elsewhere is a test's
    for number in _SIGNALS:
        signal.signal(number, _then(signal.getsignal(number)))


def end_tasks() -> None:
    """Start no further task, and kill the running ones, which lose nothing by it: so does the button Stop."""
    for executor in background_executors.values():
        executor.shutdown(wait=False, cancel_futures=True)
    for process in psutil.Process().children(recursive=True):
        try:
            process.kill()
        except psutil.Error:
            logger.debug("A task ended by itself")


def _then(before: Any) -> Callable[[int, FrameType | None], None]:  # noqa: ANN401 - what getsignal returns
    def handler(number: int, frame: FrameType | None) -> None:
        end_tasks()
        if callable(before):
            before(number, frame)

    return handler
