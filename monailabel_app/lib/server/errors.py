"""Answers to failed requests: always JSON with one sentence."""

from __future__ import annotations

import json
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import MONAILabelException
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lib.refusals import headers_of, status_of
from strokelabel.errors import StrokeLabelError


class PlainJSONResponse(JSONResponse):
    """JSON that every client can read: what JSON does not have (NaN, infinity) becomes null."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - whatever an endpoint returns
        """Encode, and only when that fails look for the reason."""
        try:
            return super().render(content)
        except ValueError:  # also UnicodeEncodeError, for halves of surrogate pairs
            return json.dumps(_finite(content), separators=(",", ":")).encode("ascii")


def refusal(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an answer like those of FastAPI's HTTPException.

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


def answer_errors(server: FastAPI) -> None:
    """Register how each kind of exception is answered.

    Args:
        server: an app whose middleware is not built yet.
    """
    server.add_exception_handler(StrokeLabelError, _ours)
    server.add_exception_handler(MONAILabelException, _monailabel)
    server.add_exception_handler(RequestValidationError, _invalid)
    server.add_exception_handler(ValidationError, _invalid)
    server.add_exception_handler(HTTPException, _http)


def _ours(request: Request, error: Exception) -> Response:
    return refusal(status_of(error), str(error), headers_of(error))


def _monailabel(request: Request, error: Exception) -> Response:
    return refusal(400, _sentence(getattr(error, "msg", error)))


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, (RequestValidationError, ValidationError))
    problems = [f"{_place(e['loc'])}: {e['msg']}{_found(e.get('input'))}" for e in error.errors()[:5]]
    return refusal(422, _sentence("; ".join(problems)) or "The request cannot be understood.")


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, sentence = error.status_code, _sentence(error.detail)
    if sentence.startswith("Part exceeded maximum size"):  # of Starlette's form parser
        status, sentence = 413, "params: expected at most 1 MB of text, found more; send less."
    if sentence == "There was an error parsing the body":
        sentence = "The body cannot be read as what its Content-Type says; send a form or JSON."
    headers = dict(error.headers or {})
    if status in (204, 304) or request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return refusal(status, sentence, headers)


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location if part not in ("query", "body", "path")) or "body"


def _found(value: object) -> str:
    shown = repr(value)
    return f", found {shown}" if value is not None and len(shown) <= 60 else ""


def _sentence(detail: object) -> str:
    return " ".join(str(detail).split())
