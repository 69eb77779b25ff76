"""Limit of slow requests at a time, so that the quick ones always find a thread."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

from lib.server.errors import refuse

SPARE_THREADS = 32
"""Left for what is quick, whatever else is going on."""

UPLOADS_AT_ONCE = 16


class Admission:
    """Limit of concurrent inferences (and other long work) and uploads; requests beyond it get 503.

    Args:
        app: what is asked next.
        queue: how many inferences may wait for their turn; some more are let in to be told so themselves.
    """

    active: ClassVar[dict[str, int]] = {"long": 0, "upload": 0}
    """Requests in progress in this process, by kind; read by /health."""

    def __init__(self, app: ASGIApp, queue: int) -> None:
        self._app = app
        self._most = {"long": long_at_once(queue), "upload": UPLOADS_AT_ONCE}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        kind = _kind(scope) if scope["type"] == "http" else None
        if kind is None:
            return await self._app(scope, receive, send)
        if self.active[kind] >= self._most[kind]:
            sentence = f"The server is busy with {self.active[kind]} such requests; try again in a moment."
            return await refuse(scope, receive, send, 503, sentence, {"Retry-After": "5"})
        self.active[kind] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.active[kind] -= 1


def long_at_once(queue: int) -> int:
    """Return the number of long requests to admit, given the number of inferences that may wait."""
    return queue + 16


def _kind(scope: Scope) -> str | None:
    path, method = scope["path"], scope["method"]
    waits = "run_sync" in parse_qs(scope["query_string"].decode("latin-1"))
    if (path.startswith("/infer/") and method == "POST") or path == "/datastore/dataset" or waits:
        return "long"
    if method == "PUT" and path.startswith(("/datastore", "/session")):
        return "upload"
    return None
