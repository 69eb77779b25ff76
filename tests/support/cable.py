"""A TCP proxy that can be cut: at once, or in the middle of an upload."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit


class Cable:
    """Passes everything on to a server as long as it is not cut.

    Args:
        url: of the server.

    Attributes:
        url: where it listens.
        server: where it leads, (host, port); may be changed.
    """

    def __init__(self, url: str) -> None:
        self.lead_to(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._cut = False
        self._cut_after: bytes | None = None
        self._open: set[socket.socket] = set()

    def lead_to(self, url: str) -> None:
        """Lead to another server."""
        place = urlsplit(url)
        self.server = (place.hostname or "127.0.0.1", place.port or 80)

    def __enter__(self) -> Cable:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.cut()
        self._listener.close()

    def cut(self) -> None:
        """Nothing passes from now on, and what is open breaks."""
        self._cut = True
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut_in_the_middle_of(self, request: bytes) -> None:
        """Cut as soon as the first bytes of such a request have passed."""
        self._cut_after = request

    def mend(self) -> None:
        """Let things pass again."""
        self._cut, self._cut_after = False, None

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._cut:
                client.close()
                continue
            try:
                server = socket.create_connection(self.server, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for source, target, up in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(source, target, up), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        self._open.add(source)
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if up and self._cut_after is not None and data.startswith(self._cut_after):
                    target.sendall(data[: len(data) // 2])
                    self.cut()
                    break
                if self._cut:
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.discard(source)
