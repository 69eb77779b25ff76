"""Whether whoever sent the request that a thread works on is still there."""

from __future__ import annotations

from contextvars import ContextVar

from anyio import from_thread
from starlette.requests import Request

_client: ContextVar[Request | None] = ContextVar("client", default=None)


async def remember_client(request: Request) -> None:
    """A dependency of routes whose work may have to wait.

    A coroutine, so that it sets the variable in the request's own context, which its worker thread inherits.
    """
    _client.set(request)


def client_gave_up() -> bool:
    """Whether the connection of this thread's request was closed; False outside a request's thread."""
    request = _client.get()
    if request is None:
        return False
    try:
        return from_thread.run(request.is_disconnected)
    except RuntimeError:  # not in a thread that serves a request
        return False
