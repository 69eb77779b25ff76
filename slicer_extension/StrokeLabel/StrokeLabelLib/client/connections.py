"""Connections that can be closed while a request waits for its answer."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from requests.adapters import HTTPAdapter


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
