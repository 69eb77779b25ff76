"""Count of the windows that show this page: there is one scene, so they all show the same scan."""

from __future__ import annotations

from typing import Any

from trame_server import Server
from wslink.websocket import LinkProtocol


class PageCounter(LinkProtocol):
    """Counter of the connections, shown on all pages.

    Args:
        server: of the page.
    """

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._trame = server
        self._clients: set[str] = set()

    def onConnect(self, _request: Any, client_id: str) -> None:  # noqa: ANN401, D102, N802 - named by wslink
        self._clients.add(client_id)
        self._tell()

    def onClose(self, client_id: str) -> None:  # noqa: D102, N802
        self._clients.discard(client_id)
        self._tell()

    def _tell(self) -> None:
        with self._trame.state as state:
            state.pages = max(len(self._clients), 1)


def count_pages(server: Server) -> None:
    """Keep the number of windows in the state variable `pages`."""
    server.add_protocol_to_configure(lambda protocol: protocol.registerLinkProtocol(PageCounter(server)))
