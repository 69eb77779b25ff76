"""How exceptions are answered: always JSON with one sentence."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from monailabel.interfaces.exception import MONAILabelException
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lib.refusals import headers_of, status_of
from lib.server.answers import refusal
from strokelabel.errors import StrokeLabelError


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
