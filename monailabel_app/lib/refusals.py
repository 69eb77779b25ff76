"""How a request is refused: a status code that fits, and one sentence as JSON.

MONAI Label's endpoints answer every exception of an app, its own `MONAILabelException` included, with a bare
"500 Internal Server Error". An app cannot register a handler: it is built when the server's handlers are
already fixed. The one exception that FastAPI always answers with a status and a JSON `detail` is its own
`HTTPException`; so the methods that the endpoints call translate to it at their border, and tasks and helpers
raise plain `StrokeLabelError`s and know nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException

from strokelabel.errors import ImageError, OptionError, StrokeLabelError


class InvalidRequestError(StrokeLabelError):
    """An option, id or tag that cannot be used."""


class UnknownNameError(StrokeLabelError):
    """No image, model, strategy or label of that name."""


class NameTakenError(StrokeLabelError):
    """The name already stands for something else."""


class UnsupportedFileError(StrokeLabelError):
    """A file of a kind that is not accepted here."""


class BusyError(StrokeLabelError):
    """More requests wait than may; the same one will do later."""

    retry_after_s = 10


_STATUS: tuple[tuple[type[StrokeLabelError], int], ...] = (
    (UnknownNameError, 404),
    (NameTakenError, 409),
    (UnsupportedFileError, 415),
    (InvalidRequestError, 400),
    (OptionError, 400),
    (ImageError, 422),
)


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
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 503)
        headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, BusyError) else None
        raise HTTPException(status, str(error), headers) from error
