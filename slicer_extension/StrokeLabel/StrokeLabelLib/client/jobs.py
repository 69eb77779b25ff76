"""Work beside the view: requests and array operations in a thread, results where the view lives."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol

from ..errors import CancelledError, StrokeLabelLibError
from .answers import InferProgress

UNEXPECTED = "Something unexpected went wrong ({}); nothing painted is lost. Please report it with the log."


class Job:
    """One piece of work.

    Work calls `check()` between its steps. A job that was cancelled never delivers its result, even if what it waits
    for cannot be interrupted; requests are: their connection is closed.

    Attributes:
        message: the current step, for users.
        request_id: of the request to a model that it waits for, by which the server tells its progress; "" if none.
        progress: of that request, as far as the server told.
    """

    def __init__(self, message: str) -> None:
        self.message = message
        self.request_id = ""
        self.progress: InferProgress | None = None
        self._cancelled = threading.Event()
        self._when_cancelled: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """Drop the result, and stop at the next step."""
        self._cancelled.set()
        for act in list(self._when_cancelled):
            act()

    def when_cancelled(self, act: Callable[[], None]) -> None:
        """Call a function when the job is cancelled, on the thread that cancels it; now if it was already.

        Args:
            act: returns at once and raises nothing.
        """
        self._when_cancelled.append(act)
        if self.cancelled:
            act()

    @property
    def cancelled(self) -> bool:
        """True once `cancel` was called."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Continue unless the job was cancelled.

        Raises:
            CancelledError: it was.
        """
        if self.cancelled:
            raise CancelledError("Cancelled.")


Work = Callable[[Job], Any]
Done = Callable[[Any], None]
Failed = Callable[[StrokeLabelLibError], None]


class Runner(Protocol):
    """Runner of jobs that delivers their outcome on the thread of the view."""

    def run(self, job: Job, work: Work, done: Done, failed: Failed) -> None:
        """Start `work(job)`; then `done(result)` or `failed(error)`, and neither once the job is cancelled."""


class SyncRunner:
    """Runner that works synchronously: for tests and scripts."""

    def run(self, job: Job, work: Work, done: Done, failed: Failed) -> None:
        """Run now."""
        _deliver(job, _outcome(job, work), done, failed)


class ThreadRunner:
    """Runner in threads; the thread of the view calls `pump` often (a timer, or an event loop).

    VTK, MRML and Qt belong to the view's thread, so work must not touch them.
    """

    def __init__(self) -> None:
        self._finished: queue.Queue[Callable[[], None]] = queue.Queue()

    def run(self, job: Job, work: Work, done: Done, failed: Failed) -> None:
        """Start a thread; it ends with the program at the latest."""

        def body() -> None:
            outcome = _outcome(job, work)
            self._finished.put(lambda: _deliver(job, outcome, done, failed))

        threading.Thread(target=body, name=f"StrokeLabel: {job.message}", daemon=True).start()

    def pump(self) -> int:
        """Deliver what has finished since; return how many."""
        count = 0
        while True:
            try:
                deliver = self._finished.get_nowait()
            except queue.Empty:
                return count
            deliver()
            count += 1


def _outcome(job: Job, work: Work) -> Any:  # noqa: ANN401 - whatever the work returns
    try:
        job.check()
        return work(job)
    except StrokeLabelLibError as error:
        return error
    except Exception as error:
        shown = StrokeLabelLibError(UNEXPECTED.format(f"{type(error).__name__}: {error}"))
        shown.__cause__ = error
        return shown


def _deliver(job: Job, outcome: Any, done: Done, failed: Failed) -> None:  # noqa: ANN401
    if job.cancelled:
        return
    if isinstance(outcome, StrokeLabelLibError):
        failed(outcome)
    else:
        done(outcome)
