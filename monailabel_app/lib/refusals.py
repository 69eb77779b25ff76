"""Refusal of requests: a status code, and one sentence as JSON.

Tasks and helpers raise plain `StrokeLabelError`s and know nothing of HTTP. The server translates them
(`lib.server.errors`); the methods that background processes call as well translate to FastAPI's
`HTTPException` at their border.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from fastapi import HTTPException

from strokelabel.errors import ImageError, OptionError, StrokeLabelError

T = TypeVar("T")


class InvalidRequestError(StrokeLabelError):
    """An option, id or tag that cannot be used."""


class UnknownNameError(StrokeLabelError):
    """Unknown image, model, strategy or label."""


class NameTakenError(StrokeLabelError):
    """Conflict with an existing name."""


class UnsupportedFileError(StrokeLabelError):
    """A file of a kind that is not accepted here."""


class TooLargeError(StrokeLabelError):
    """Upload or body above the server's limit."""


class ForbiddenError(StrokeLabelError):
    """Request that this server never carries out for a client."""


class TaskRunningError(StrokeLabelError):
    """A task of this kind is running, and only one may."""


class BusyError(StrokeLabelError):
    """Too many waiting requests; the same request may succeed later."""

    retry_after_s = 10


def named(choices: Mapping[str, T], name: object, what: str) -> T:
    """Look up a task by the name in a request.

    Raises:
        UnknownNameError: listing the names that exist.
    """
    if not isinstance(name, str) or name not in choices:
        raise UnknownNameError(f"No {what} {name!r}; there are: {', '.join(sorted(choices))}.")
    return choices[name]


_STATUS: tuple[tuple[type[StrokeLabelError], int], ...] = (
    (UnknownNameError, 404),
    (NameTakenError, 409),
    (UnsupportedFileError, 415),
    (TooLargeError, 413),
    (ForbiddenError, 403),
    (TaskRunningError, 429),
    (InvalidRequestError, 400),
    (OptionError, 400),
    (ImageError, 422),
)


def status_of(error: Exception) -> int:
    """Return the status of an error: 4xx if the client can solve it, 503 if the server's owner must."""
    return next((code for kind, code in _STATUS if isinstance(error, kind)), 503)


def headers_of(error: Exception) -> dict[str, str] | None:
    """Return the header with the time after which to retry, for temporary failures."""
    return {"Retry-After": str(error.retry_after_s)} if isinstance(error, BusyError) else None


@contextmanager
def answered_as_http() -> Iterator[None]:
    """Translate the error family to `HTTPException`; usable as a decorator too.

    Raises:
        HTTPException: 4xx for what the client can mend, 503 for what the server's owner must (weights, disk), and
            with `Retry-After` for what time will mend.
    """
    try:
        yield
    except StrokeLabelError as error:
        raise HTTPException(status_of(error), str(error), headers_of(error)) from error
    except OSError as error:  # a file that cannot be removed, a disk that is full
        raise HTTPException(
            503,
            f"The server cannot read or write its files ({error.strerror or type(error).__name__}); its owner must "
            "check their permissions and the free space.",
        ) from error
