"""Error family: every message is one sentence or two that can be shown to the user."""

from __future__ import annotations


class StrokeLabelLibError(Exception):
    """Error to be shown to the user."""


class GeometryError(StrokeLabelLibError):
    """An image or mask that does not lie where it should."""


class FileFormatError(StrokeLabelLibError):
    """A file that cannot be read as an image."""


class OperationError(StrokeLabelLibError):
    """An editing operation that makes no sense here."""


class CancelledError(StrokeLabelLibError):
    """Cancellation by the user."""


class ServerError(StrokeLabelLibError):
    """Failure of a request."""


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
    """Missing scan, label or model (404)."""


class NotAuthorizedError(ServerError):
    """Missing or wrong token (401, 403)."""


class RefusedError(ServerError):
    """Refusal of the request, with the server's reason (other 4xx)."""


class ServerFailureError(ServerError):
    """Failure of the server (5xx), or an invalid answer."""
