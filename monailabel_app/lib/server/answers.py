"""Answers of the server that no endpoint gives: one sentence as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send


class PlainJSONResponse(JSONResponse):
    """JSON that every client can read: what JSON does not have (NaN, infinity) becomes null."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - whatever an endpoint returns
        """Encode, and only when that fails look for the reason."""
        try:
            return super().render(content)
        except ValueError:  # also UnicodeEncodeError, for halves of surrogate pairs
            return json.dumps(_finite(content), separators=(",", ":")).encode("ascii")


def refusal(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer like those of FastAPI's HTTPException.

    Args:
        status: HTTP status.
        sentence: what was expected, what came, what to do.
        headers: further headers.
    """
    return PlainJSONResponse({"detail": sentence}, status, headers)


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    sentence: str,
    headers: dict[str, str] | None = None,
) -> None:
    """Send a `refusal` from a middleware, without reading the body; so the connection is closed."""
    await refusal(status, sentence, {"Connection": "close", **(headers or {})})(scope, receive, send)


def _finite(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
