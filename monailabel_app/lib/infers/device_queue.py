"""Queue of inferences: one at a time on each device, a bounded number waiting, none for clients that have left."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from anyio import from_thread
from starlette.requests import Request

from lib.infers.progress import report_waiting
from lib.refusals import BusyError

_client: ContextVar[Request | None] = ContextVar("client", default=None)


async def remember_client(request: Request) -> None:
    """Remember the client of a request whose work may have to wait; a dependency of its route.

    A coroutine, so that it sets the variable in the request's own context, which its worker thread inherits.
    """
    _client.set(request)


def client_gave_up() -> bool:
    """Return whether the connection of this thread's request was closed; False outside a request's thread."""
    request = _client.get()
    if request is None:
        return False
    try:
        return from_thread.run(request.is_disconnected)
    except RuntimeError:  # not in a thread that serves a request
        return False


MOST_WAITING = 16
"""More are refused, so that neither memory nor the time that a client waits grows without bound."""

_LOOK_EVERY_S = 0.5


class InferenceQueue:
    """Queue that admits one thread at a time, in the order of arrival.

    What takes memory, reading the scan included, belongs inside a turn.

    Args:
        most_waiting: how many may wait.
        what: what is done one at a time, for the message of a refusal.
    """

    def __init__(self, most_waiting: int = MOST_WAITING, what: str = "segmentations") -> None:
        self._most_waiting = most_waiting
        self._what = what
        self._line: deque[object] = deque()
        self._owner: int | None = None
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, gave_up: Callable[[], bool] | None = None) -> Iterator[None]:
        """Wait for a turn and hold it; a thread that holds it already continues.

        Args:
            gave_up: asked now and then, and when the turn has come: whether the client has left.

        Raises:
            BusyError: too many wait, or `gave_up` returned true.
        """
        if self._owner == threading.get_ident():
            yield
            return
        self._wait(gave_up or _never)
        try:
            yield
        finally:
            with self._changed:
                self._owner = None
                self._changed.notify_all()

    def _wait(self, gave_up: Callable[[], bool]) -> None:
        place = object()
        with self._changed:
            if len(self._line) >= self._most_waiting and self._owner is not None:
                raise BusyError(
                    f"The server is busy: {len(self._line)} {self._what} are waiting, which is the maximum; "
                    "try again later."
                )
            self._line.append(place)
        try:
            while not self._is_next(place):
                report_waiting(self._ahead(place))
                self._give_up_if(gave_up())
            self._give_up_if(gave_up())
        except BaseException:
            self._leave(place)
            raise
        with self._changed:
            self._line.popleft()

    def _is_next(self, place: object) -> bool:
        """Wait a moment for the turn; take it when it has come."""
        with self._changed:
            free = self._changed.wait_for(
                lambda: self._owner is None and self._line[0] is place, timeout=_LOOK_EVERY_S
            )
            if free:
                self._owner = threading.get_ident()
            return free

    def _ahead(self, place: object) -> int:
        """Return how many are served before a place in the line."""
        with self._changed:
            return self._line.index(place) + (self._owner is not None)

    def _leave(self, place: object) -> None:
        with self._changed:
            self._line.remove(place)
            if self._owner == threading.get_ident():
                self._owner = None
            self._changed.notify_all()

    @staticmethod
    def _give_up_if(gone: bool) -> None:
        if gone:
            raise BusyError("The client closed the connection before its turn came.")


def _never() -> bool:
    return False
