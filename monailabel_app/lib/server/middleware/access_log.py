"""Log line of each request, and handler of internal errors."""

from __future__ import annotations

import logging
import secrets
import time
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.server.errors import refusal
from lib.server.logs import ACCESS, short_hash

logger = logging.getLogger("strokelabel.server")
access = logging.getLogger(ACCESS)


class AccessLog:
    """Logs method, route, status and milliseconds; ids of images only as hashes, no other values.

    Args:
        app: what is asked next.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            name = secrets.token_hex(4)
            logger.error(f"error {name}", exc_info=error)
            if not status:
                sentence = f"Internal server error; for details see the server's log under error {name}."
                await refusal(500, sentence)(scope, receive, watched)
        finally:
            fields = {"method": scope["method"], "route": _route(scope), "status": status}
            fields["ms"] = round((time.perf_counter() - started) * 1000, 1)
            access.info("request", extra={"fields": {**fields, **_image(scope)}})


def _route(scope: Scope) -> str:
    """Return the pattern of the route, which has no names in it; "-" when a request was refused before."""
    return getattr(scope.get("route"), "path", None) or "-"


def _image(scope: Scope) -> dict[str, str]:
    query = parse_qs(scope["query_string"].decode("latin-1"))
    ids = query.get("image") or query.get("label") or query.get("id")
    return {"image": short_hash(ids[0])} if ids else {}
