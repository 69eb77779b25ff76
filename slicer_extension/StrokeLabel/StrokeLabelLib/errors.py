"""The error family: every message is one sentence or two that can be shown to the user as it is."""

from __future__ import annotations


class StrokeLabelLibError(Exception):
    """Anything that the user should read."""


class GeometryError(StrokeLabelLibError):
    """An image or mask that does not lie where it should."""


class FileFormatError(StrokeLabelLibError):
    """A file that cannot be read as an image."""


class OperationError(StrokeLabelLibError):
    """An editing operation that makes no sense here."""


class CancelledError(StrokeLabelLibError):
    """The user cancelled."""


class ServerError(StrokeLabelLibError):
    """The server did not do what was asked."""


class ServerUnavailableError(ServerError):
    """No answer: down, starting, unreachable, or cut off."""


class ServerTimeoutError(ServerUnavailableError):
    """No answer in time."""


class ServerBusyError(ServerError):
    """Too many requests wait already (503), or a training runs (429).

    Attributes:
        retry_after_s: seconds after which the server wants to be asked again; None if it did not say.
    """

    retry_after_s: float | None = None


class NotFoundError(ServerError):
    """The scan, label or model is not there (404)."""


class NotAuthorizedError(ServerError):
    """The token is missing or wrong (401, 403)."""


class RefusedError(ServerError):
    """The server refused the request and said why (other 4xx)."""


class ServerFailureError(ServerError):
    """The server failed (5xx) or answered with what is no answer."""
