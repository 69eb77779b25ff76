"""Progress of infer requests, told to the client that asks by the id it sent with its request."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from lib.refusals import InvalidRequestError

_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
"""Long enough not to be guessed by another client."""

_ENOUGH = 0.02
"""Share of the work after which its pace counts as measured."""


@dataclass
class RequestProgress:
    """Progress of a request.

    Args:
        task: its name.
        image: id of the scan, or what it is called in messages.
        clock: seconds.

    Attributes:
        ahead: requests that are served before it, while it waits for its turn.
        stage: what is done, in words; "" before it begins.
        fraction: of the work that is done, from 0 to 1.
    """

    task: str
    image: str
    clock: Callable[[], float] = time.monotonic
    ahead: int = 0
    stage: str = ""
    fraction: float = 0.0

    def __post_init__(self) -> None:
        self._began = self._told = self.clock()
        self._stage_from = (self._began, 0.0)
        self._pace: float | None = None  # seconds for all of the work, at the speed measured last

    def report(self, stage: str, fraction: float) -> None:
        """Take note of how far it is."""
        now = self.clock()
        if stage != self.stage:
            self._stage_from = (now, fraction)
        since, first = self._stage_from
        if fraction - first >= _ENOUGH:
            self._pace = (now - since) / (fraction - first)
        self.ahead, self.stage, self.fraction, self._told = 0, stage, fraction, now

    def as_json(self) -> dict[str, Any]:
        """Return the answer of GET /infer/progress; `remaining_s` is None until the pace is known."""
        now, left = self.clock(), None
        if self._pace is not None:
            left = round(max(0.0, self._pace * (1 - self.fraction) - (now - self._told)), 1)
        return {
            "state": "running" if self.stage else "waiting",
            "task": self.task,
            "image": self.image,
            "ahead": self.ahead,
            "stage": self.stage,
            "fraction": round(self.fraction, 4),
            "elapsed_s": round(now - self._began, 1),
            "remaining_s": left,
        }


_known: dict[str, RequestProgress] = {}
_current: ContextVar[RequestProgress | None] = ContextVar("current", default=None)


@contextmanager
def followed(request_id: object, task: str, image: str) -> Iterator[None]:
    """Make the progress of this thread's request known under its client's id, while it is served.

    Args:
        request_id: sent by the client; without one, nothing is made known.
        task, image: see `RequestProgress`.

    Raises:
        InvalidRequestError: not an id.
    """
    if request_id is None or request_id == "":
        yield
        return
    if not isinstance(request_id, str) or _ID.fullmatch(request_id) is None:
        raise InvalidRequestError(
            f"request_id: expected 16 to 64 letters, digits, - or _, found {str(request_id)[:80]!r}."
        )
    mine = RequestProgress(task, image)
    _known[request_id] = mine
    token = _current.set(mine)
    try:
        yield
    finally:
        _current.reset(token)
        if _known.get(request_id) is mine:  # a client that tries again sends the same one
            del _known[request_id]


def report(stage: str, fraction: float) -> None:
    """Take note of how far this thread's request is."""
    current = _current.get()
    if current is not None:
        current.report(stage, fraction)


def report_waiting(ahead: int) -> None:
    """Take note of how many requests are served before this thread's."""
    current = _current.get()
    if current is not None:
        current.ahead = ahead


def progress_of(request_id: str) -> dict[str, Any]:
    """Return how far a request is; the state "unknown" for one that has not come yet, or was answered."""
    found = _known.get(request_id)
    return {"state": "unknown"} if found is None else found.as_json()
