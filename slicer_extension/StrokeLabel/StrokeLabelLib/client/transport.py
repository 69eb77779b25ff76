"""HTTP requests to the server over connections that can be closed, and a parser of its multipart answers."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from ..errors import (
    NotAuthorizedError,
    NotFoundError,
    RefusedError,
    ServerBusyError,
    ServerError,
    ServerFailureError,
    ServerTimeoutError,
    ServerUnavailableError,
)
from .jobs import Job


class ClosableAdapter(HTTPAdapter):
    """Adapter of `requests` whose connections another thread can close, so that the server learns of it.

    Those through a proxy are left open.
    """

    def __init__(self) -> None:
        self._opened: list[socket.socket] = []
        self._closed = False
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - of requests
        """Make pools whose connections are remembered."""
        super().init_poolmanager(*args, **kwargs)
        pools: dict[str, Any] = dict(self.poolmanager.pool_classes_by_scheme)
        self.poolmanager.pool_classes_by_scheme = {
            scheme: type(
                pool.__name__, (pool,), {"ConnectionCls": _remembered(pool.ConnectionCls, self._remember)}
            )
            for scheme, pool in pools.items()
        }

    def shut(self) -> None:
        """Close all connections now, and each that is opened later."""
        self._closed = True
        for opened in list(self._opened):
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def _remember(self, opened: socket.socket) -> None:
        self._opened.append(opened)
        if self._closed:
            self.shut()


def _remembered(connection: Any, remember: Callable[[socket.socket], None]) -> Any:  # noqa: ANN401 - of urllib3
    """Return a class of connections that passes on each socket once it is connected."""

    def connect(self: Any) -> None:  # noqa: ANN401
        connection.connect(self)
        remember(self.sock)

    return type(connection.__name__, (connection,), {"connect": connect})


_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
_NAME = re.compile(r'name="([^"]*)"')


def parts_of(content_type: str, body: bytes) -> dict[str, bytes]:
    """Return the parts of a multipart answer by name.

    Args:
        content_type: of the answer.
        body: of the answer.

    Raises:
        ServerFailureError: no multipart answer, or one that was cut off.
    """
    found = _BOUNDARY.search(content_type)
    if not content_type.startswith("multipart/") or found is None:
        raise ServerFailureError("The server's answer is not what was expected; is it a MONAI Label server?")
    mark = b"--" + found.group(1).encode()
    if not body.rstrip(b"\r\n").endswith(mark + b"--"):
        raise ServerFailureError("The server's answer was cut off; try again.")
    parts = {}
    for part in (b"\r\n" + body).split(b"\r\n" + mark)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head.decode("latin-1"))
        if name is not None:
            parts[name.group(1)] = content
    return parts


Files = Mapping[str, "tuple[str, bytes]"]

ATTEMPTS = 3
FIRST_WAIT_S, LONGEST_WAIT_S = 0.3, 10.0
CONNECT_S, READ_S, INFER_S = 5.0, 60.0, 900.0
"""Seconds to wait for a connection, for an answer, and for an answer of a model on a slow CPU."""

_LOCAL = ("127.0.0.1", "localhost", "::1")


class Transport:
    """HTTP transport to one server.

    What changes nothing, or the same thing when it is done twice, is tried again when the server can't be reached
    or is busy; starting and stopping training is not.

    Args:
        url: of the server.
        token: bearer token, or "".
        sleep: waits between attempts.
        read_s: seconds to wait for an answer.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        sleep: Callable[[float], None] = time.sleep,
        read_s: float = READ_S,
    ) -> None:
        self._url, self._sleep, self._read_s = url, sleep, read_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get_json(
        self, path: str, query: Mapping[str, str] | None = None, job: Job | None = None
    ) -> dict[str, Any]:
        """Get an object."""
        return _object(self._send("GET", path, job, params=query))

    def get_bytes(self, path: str, query: Mapping[str, str], job: Job | None = None) -> bytes:
        """Get a file."""
        return self._send("GET", path, job, params=query).content

    def post_json(self, path: str, body: Mapping[str, Any], job: Job | None = None) -> dict[str, Any]:
        """Post an object, once; return the answer's object."""
        return _object(self._send("POST", path, job, attempts=1, json=dict(body)))

    def put_json(self, path: str, body: Mapping[str, Any], job: Job | None = None) -> dict[str, Any]:
        """Put an object; return the answer's object."""
        return _object(self._send("PUT", path, job, json=dict(body)))

    def post_form(
        self,
        path: str,
        query: Mapping[str, str],
        form: Mapping[str, str],
        files: Files,
        job: Job | None = None,
    ) -> tuple[str, bytes]:
        """Post a form to a model, which changes nothing; return content type and bytes of the answer."""
        answer = self._send("POST", path, job, read_s=INFER_S, params=query, data=form, files=files or None)
        return answer.headers.get("Content-Type", ""), answer.content

    def put(
        self,
        path: str,
        query: Mapping[str, str],
        form: Mapping[str, str],
        files: Files,
        job: Job | None = None,
    ) -> dict[str, Any]:
        """Put a form with files; return the answer's object."""
        return _object(self._send("PUT", path, job, params=query, data=form, files=files))

    def delete(self, path: str, job: Job | None = None) -> None:
        """Delete a resource."""
        self._send("DELETE", path, job, attempts=1)

    def _send(
        self,
        method: str,
        path: str,
        job: Job | None,
        attempts: int = ATTEMPTS,
        read_s: float | None = None,
        **arguments: Any,  # noqa: ANN401 - of requests
    ) -> requests.Response:
        for attempt in range(1, attempts + 1):
            if job is not None:
                job.check()
            try:
                return self._once(method, path, read_s or self._read_s, arguments, job)
            except (ServerUnavailableError, ServerBusyError) as error:
                if job is not None:
                    job.check()
                if attempt == attempts or isinstance(error, ServerTimeoutError):
                    raise
                self._sleep(_wait(attempt, error))
        raise AssertionError("unreachable")

    def _once(
        self, method: str, path: str, read_s: float, arguments: Mapping[str, Any], job: Job | None
    ) -> requests.Response:
        with requests.Session() as session:
            if job is not None:  # a server stops working for a client that has left
                adapter = ClosableAdapter()
                for scheme in ("http://", "https://"):
                    session.mount(scheme, adapter)
                job.when_cancelled(adapter.shut)
            session.trust_env = urlsplit(self._url).hostname not in _LOCAL  # no proxy to this computer
            try:
                answer = session.request(
                    method, self._url + path, headers=self._headers, timeout=(CONNECT_S, read_s), **arguments
                )
                whole = _is_whole(answer)
            except requests.Timeout as error:
                raise ServerTimeoutError(
                    f"The server at {self._url} did not answer within {read_s:g} s; try again, or look at its log."
                ) from error
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                raise ServerUnavailableError(
                    f"The server at {self._url} can't be reached; check that it runs and the address is right."
                ) from error
            except requests.RequestException as error:
                raise ServerUnavailableError(
                    f"{self._url} is not the address of a server ({error})."
                ) from error
        if not whole:
            raise ServerUnavailableError("The connection was cut off; try again.")
        if not answer.ok:
            raise _refusal(answer)
        return answer


def _refusal(answer: requests.Response) -> ServerError:
    """Return the error of a status code, with the server's own message if there is one."""
    status, said = answer.status_code, _detail(answer)
    if status in (401, 403):
        return NotAuthorizedError(
            said or "The server asks for a token, or refused yours; enter it in the settings."
        )
    if status == 404:
        return NotFoundError(said or "The server does not have that; refresh the list of scans.")
    if status in (429, 503):
        error = ServerBusyError(said or "The server is busy; try again in a moment.")
        error.retry_after_s = _seconds(answer.headers.get("Retry-After"))
        return error
    if status < 500:
        return RefusedError(said or f"The server refused the request (status {status}).")
    return ServerFailureError(said or f"The server failed (status {status}); see its log.")


def _detail(answer: requests.Response) -> str:
    try:
        detail = answer.json().get("detail")
    except (ValueError, AttributeError):
        return ""
    if isinstance(detail, list):  # FastAPI's own refusals
        return "; ".join(
            str(item.get("msg", item)) if isinstance(item, dict) else str(item) for item in detail
        )
    said = str(detail) if detail else ""
    return "" if said in ("Not Found", "Method Not Allowed", "Internal Server Error") else said


def _wait(attempt: int, error: ServerError) -> float:
    asked = getattr(error, "retry_after_s", None)
    return float(min(LONGEST_WAIT_S, asked if asked is not None else FIRST_WAIT_S * 2 ** (attempt - 1)))


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() else None


def _is_whole(answer: requests.Response) -> bool:
    """Return whether the body is complete: older urllib3 passes a body that was cut off."""
    length = answer.headers.get("Content-Length", "")
    plain = "Content-Encoding" not in answer.headers
    return not (plain and length.isdigit() and answer.request.method != "HEAD") or len(answer.content) == int(
        length
    )


def _object(answer: requests.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except ValueError as error:
        raise ServerFailureError("The server's answer is not JSON; is it a MONAI Label server?") from error
    return value if isinstance(value, dict) else {}
