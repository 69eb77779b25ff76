"""Variables of the page's templates with their initial values, and the count of windows that show them."""

from __future__ import annotations

from typing import Any

from StrokeLabelLib.session.presenter import Presenter
from StrokeLabelLib.session.simulation_state import SimulationState
from StrokeLabelLib.session.view import ViewState
from trame_server import Server
from trame_server.state import State
from wslink.websocket import LinkProtocol

from . import shortcuts
from .simulation import as_page_state as simulation_page_state
from .view import as_page_state


def set_defaults(state: State, presenter: Presenter) -> None:
    """Fill in every name that a template uses."""
    settings = presenter.settings
    first: dict[str, Any] = {
        "trame__title": "StrokeLabel",
        "ui": as_page_state(ViewState(server=settings.server)),
        "cases": [],
        "case_filter": "",
        "threshold": 0.5,
        "tool": "navigate",
        "brush_mm": 8.0,
        "sphere": False,
        "mask_visible": True,
        "mask_opacity": 0.35,
        "overlay_opacity": settings.overlay_opacity,
        "legend": None,
        "prompt_count": 0,
        "shown_sequence": 0,
        "layout": "four",
        "error": "",
        "question": None,
        "uploading": "",
        "pages": 1,
        "min_ml": settings.min_island_ml,
        "margin_mm": settings.margin_mm,
        "tab": "annotate",
        "simulation": simulation_page_state(SimulationState()),
        "simulation_values": {},
        "show_help": False,
        "show_settings": False,
        "show_cases": True,
        "show_train": False,
        "segment_options": [],
        "segment_values": {},
        "train_options": [],
        "train_values": {},
        "server_url": settings.server,
        "servers": list(settings.servers),
        "token": "",
        "client_id": settings.client_id,
        "segment_on_open": settings.segment_on_open,
        "load_sequences": settings.load_sequences,
        "refine_at_once": settings.refine_at_once,
        "shortcuts": shortcuts.as_page_state(),
    }
    state.update(first)


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
