"""Middleware of every request: its address and token, its size, and how many slow ones run at a time."""

from __future__ import annotations

import hmac
import ipaddress
from typing import ClassVar
from urllib.parse import parse_qs, unquote

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.refusals import InvalidRequestError
from lib.request_values import read_json
from lib.server.errors import refuse
from lib.server.server_options import MOST_SMALL_BODY_BYTES

OPEN_PATHS = frozenset({"/health", "/auth/", "/auth/token"})
"""Asked without a token: liveness, and how stock clients exchange a password for one."""


class AddressGuard:
    """Check of addresses and origins, so that other web pages cannot use a server on this machine.

    A foreign page sends its own Origin. Or it has its name resolved to 127.0.0.1 (DNS rebinding), and then the
    Host of its requests is that name.

    Args:
        app: what is asked next.
        hosts: names allowed beside localhost and IP addresses, on connections to a loopback address.
        origins: foreign pages that may ask.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...], origins: tuple[str, ...]) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] == "http" and (problem := self._problem(scope)):
            return await refuse(scope, receive, send, *problem)
        await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        local = _is_loopback((scope.get("server") or ("", 0))[0])
        if local and _name(host) not in ("localhost", *self._hosts) and not _is_address(_name(host)):
            return 403, "Host: expected localhost or a name of --conf hosts; use that address instead."
        own = f"{scope.get('scheme', 'http')}://{host}".lower()
        if origin is not None and origin.lower() not in (own, *self._origins):
            return (
                403,
                "Origin: requests from pages of other addresses are refused, unless --conf origins names them.",
            )
        if any(not char.isprintable() for char in scope["path"]) or _has_control(scope["query_string"]):
            return 400, "The address contains control characters; names must not have any."
        return None


class TokenGuard:
    """Check of the token, in constant time.

    Args:
        app: what is asked next.
        token: the secret, not empty.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            scheme, _, sent = Headers(scope=scope).get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not same_secret(sent.strip(), self._token):
                sentence = "This server asks for a token; send it as `Authorization: Bearer TOKEN`."
                return await refuse(scope, receive, send, 401, sentence, {"WWW-Authenticate": "Bearer"})
        await self._app(scope, receive, send)


def same_secret(one: str, other: str) -> bool:
    """Compare in a time that does not tell how much agrees."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _name(host: str) -> str:
    """Return the name or address of a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return _is_address(name) and ipaddress.ip_address(name).is_loopback


def _has_control(query: bytes) -> bool:
    text = unquote(query.decode("latin-1"))
    return any(ord(char) < 32 or ord(char) == 127 for char in text)


SPARE_THREADS = 32
"""Left for what is quick, whatever else is going on."""

UPLOADS_AT_ONCE = 16


class Admission:
    """Limit of concurrent inferences (and other long work) and uploads; requests beyond it get 503.

    Args:
        app: what is asked next.
        queue: how many inferences may wait for their turn; some more are let in to be told so themselves.
    """

    active: ClassVar[dict[str, int]] = {"long": 0, "upload": 0}
    """Requests in progress in this process, by kind; read by /health."""

    def __init__(self, app: ASGIApp, queue: int) -> None:
        self._app = app
        self._most = {"long": long_at_once(queue), "upload": UPLOADS_AT_ONCE}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        kind = _kind(scope) if scope["type"] == "http" else None
        if kind is None:
            return await self._app(scope, receive, send)
        if self.active[kind] >= self._most[kind]:
            sentence = f"The server is busy with {self.active[kind]} such requests; try again in a moment."
            return await refuse(scope, receive, send, 503, sentence, {"Retry-After": "5"})
        self.active[kind] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.active[kind] -= 1


def long_at_once(queue: int) -> int:
    """Return the number of long requests to admit, given the number of inferences that may wait."""
    return queue + 16


def _kind(scope: Scope) -> str | None:
    path, method = scope["path"], scope["method"]
    waits = "run_sync" in parse_qs(scope["query_string"].decode("latin-1"))
    if (path.startswith("/infer/") and method == "POST") or path == "/datastore/dataset" or waits:
        return "long"
    if method == "PUT" and path.startswith(("/datastore", "/session")):
        return "upload"
    return None


UPLOADS = ("multipart/form-data", "multipart/related")
"""Content types of forms with files, and of DICOM instances that are stored."""


class BodyLimit:
    """Limit of the size of bodies, and check of JSON.

    Uploads (multipart, of forms and of DICOMweb) stream through and are counted; everything else is small and read as
    a whole.

    Args:
        app: what is asked next.
        most_upload_bytes: of a multipart body.
    """

    def __init__(self, app: ASGIApp, most_upload_bytes: int) -> None:
        self._app = app
        self._most_upload_bytes = most_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_upload = kind in UPLOADS
        most = self._most_upload_bytes if is_upload else MOST_SMALL_BODY_BYTES
        announced = headers.get("content-length", "0")
        if announced.isdigit() and int(announced) > most:
            return await refuse(scope, receive, send, 413, _too_large(most))
        if is_upload:
            return await self._app(scope, _counted(receive, most), send)
        body = await _read(receive, most)
        if body is None:
            return await refuse(scope, receive, send, 413, _too_large(most))
        if body and (kind.endswith("/json") or kind.endswith("+json")):
            try:
                read_json(body, "body")
            except InvalidRequestError as error:
                return await refuse(scope, receive, send, 400, str(error))
        return await self._app(scope, _replayed(body, receive), send)


def _too_large(most: int) -> str:
    return (
        f"The request is larger than the {most / 2**20:,.0f} MB that this server takes; send less, or ask "
        "its owner to start it with a higher --conf max_upload_mb (uploads only)."
    )


def _counted(receive: Receive, most: int) -> Receive:
    """Stop reading at the limit; the endpoint's form parser passes the exception on."""
    total = 0

    async def counting() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > most:
            raise HTTPException(413, _too_large(most), {"Connection": "close"})
        return message

    return counting


async def _read(receive: Receive, most: int) -> bytes | None:
    """Read the whole body; None when it is larger than `most` bytes."""
    parts: list[bytes] = []
    total, more = 0, True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        total += len(parts[-1])
        more = message.get("more_body", False)
        if total > most:
            return None
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    unread = True

    async def replaying() -> Message:
        nonlocal unread
        if unread:
            unread = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replaying
