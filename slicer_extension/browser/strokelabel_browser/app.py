"""Process of the page: one user, one scene."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from StrokeLabelLib.client.jobs import ThreadRunner
from StrokeLabelLib.errors import ServerUnavailableError, StrokeLabelLibError
from StrokeLabelLib.mrml.files import MrmlFiles
from StrokeLabelLib.session.connection import normal_url
from StrokeLabelLib.session.presenter import Presenter
from StrokeLabelLib.session.session import default_folder
from StrokeLabelLib.session.settings import load_settings
from StrokeLabelLib.volume import Volume
from trame.app import get_server
from trame_slicer import module as trame_slicer_module
from trame_slicer.core import LayoutManager, SlicerApp
from trame_slicer.rca_view import register_rca_factories
from trame_slicer.views import Layout, LayoutDirection

from . import page, state
from .commands import Commands
from .routes import Routes
from .scene import AXIAL, CORONAL, SAGITTAL, THREED, Scene, view_definitions
from .state import count_pages
from .view import PageView

PUMP_S, TICK_S = 0.03, 1.0
SERVER_START_S = 90.0
"""Time that the page waits for a server that is still starting."""


class PageApp:
    """Process of one page.

    Args:
        url: of the MONAI Label server.
        folder: for settings and working copies.
        with_state: whether GET /state answers; only for tests.
    """

    def __init__(self, url: str, folder: Path, *, with_state: bool = False) -> None:
        self.server = get_server(client_type="vue3")
        self.server.enable_module(trame_slicer_module)
        slicer_app = SlicerApp()
        register_rca_factories(
            slicer_app.view_manager,
            self.server,
            slice_view_ui_f=page.slice_view,
            three_d_view_ui_f=page.threed_view,
            interactive_quality=70,
            blur_fps=30.0,
        )
        settings_file = folder / "settings.json"
        settings = load_settings(settings_file)
        settings.server = url or settings.server
        self._runner = ThreadRunner()
        self._scene = Scene(slicer_app, self._painted, self._clicked, _later)
        view = PageView(self.server.state, self._scene)
        self.presenter = Presenter(view, self._runner, settings, folder, MrmlFiles())
        state.set_defaults(self.server.state, self.presenter)
        self._layouts = LayoutManager(slicer_app.scene, slicer_app.view_manager, self.server)
        self._layouts.register_layout_dict(layouts())
        self._layouts.set_layout("four")
        Commands(self.server, self.presenter, self._scene, view, self._layouts.set_layout, settings_file)
        page.build(self.server, self._layouts)
        routes = Routes(self.presenter, self._scene, with_state=with_state)
        self.server.controller.on_server_bind.add(routes.bind)
        self.server.controller.on_server_ready.add(self._ready)
        count_pages(self.server)

    def _painted(self, mask: Volume, name: str) -> None:
        self.presenter.editing.mask_edited(mask, name)

    def _clicked(self, tool: str, point_mm: tuple[float, float, float]) -> None:
        self.presenter.segmentation.add_prompt(tool.replace("_", " "), point_mm)

    def _ready(self, **_: Any) -> None:  # noqa: ANN401
        self.presenter.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._pump()), loop.create_task(self._connect())]

    async def _connect(self) -> None:
        """Connect as soon as the server answers: both may have been started at the same moment."""
        session = self.presenter.session
        client = session.make_client(normal_url(session.settings.server), "", "")
        session.status = f"Waiting for the server at {client.url}."
        session.render()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SERVER_START_S
        while loop.time() < deadline and session.client is None and session.job is None:
            try:
                await loop.run_in_executor(None, client.info)
                break
            except ServerUnavailableError:
                await asyncio.sleep(1.0)
            except (
                StrokeLabelLibError
            ):  # it answers, but wants a token, or is another server: connecting says so
                break
        if session.client is None and session.job is None:
            self.presenter.connection.connect()

    async def _pump(self) -> None:
        """Deliver what requests brought, here where VTK lives, and keep the working copy fresh."""
        loop = asyncio.get_running_loop()
        ticked = loop.time()
        while True:
            await asyncio.sleep(PUMP_S)
            try:
                self._runner.pump()
                if loop.time() - ticked >= TICK_S:
                    ticked = loop.time()
                    self.presenter.tick()
            except Exception:  # one fault must not stop all that follows
                logging.getLogger(__name__).exception("Delivering a result failed")


def _later(seconds: float, run: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, run)


def layouts() -> dict[str, Layout]:
    """Return the layout with all four views, and one for each view alone."""
    views = view_definitions()
    alone = {name: Layout(LayoutDirection.Vertical, [view]) for name, view in views.items()}
    columns = [
        Layout(LayoutDirection.Vertical, [views[AXIAL], views[CORONAL]]),
        Layout(LayoutDirection.Vertical, [views[SAGITTAL], views[THREED]]),
    ]
    return {"four": Layout(LayoutDirection.Horizontal, columns), **alone}


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="strokelabel browse", description="Serve the browser page for one annotator."
    )
    parser.add_argument(
        "--server", default="", help="address of the MONAI Label server (default: the one used last)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=None, help="for settings and unsubmitted work")
    parser.add_argument("--open", action="store_true", help="open the page in the default browser")
    parser.add_argument("--with-state", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C."""
    options = parse_arguments(arguments)
    sys.argv = sys.argv[:1]  # trame reads it too
    app = PageApp(options.server, options.folder or default_folder(), with_state=options.with_state)
    app.server.controller.on_server_ready.add(lambda **_: _say(options.host, app.server.port))
    try:
        with contextlib.suppress(KeyboardInterrupt, SystemExit):  # Ctrl-C, or told to end
            app.server.start(
                host=options.host,
                port=options.port,
                timeout=0,  # stays when the last window closes
                open_browser=options.open,
                show_connection_info=False,
            )
    finally:
        app.presenter.shut_down()
    return 0


def _say(host: str, port: int) -> None:
    sys.stdout.write(f"StrokeLabel page: http://{host}:{port}\n")
    sys.stdout.flush()
