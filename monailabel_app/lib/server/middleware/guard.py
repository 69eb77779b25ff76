"""Access control: this machine's own pages and programs, and clients with the token."""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from lib.server.errors import refuse

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
