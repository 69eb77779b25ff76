"""Commands of buttons, sliders and keys: each names an entry of this table; the presenter has the logic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from StrokeLabelLib.errors import StrokeLabelLibError
from StrokeLabelLib.session.presenter import Presenter
from StrokeLabelLib.session.settings import save_settings
from trame_server import Server

from .scene import Scene
from .tools import TOOLS
from .view import PageView

DRAG_PAUSE_S = 0.02
"""While a slider is dragged, its newest value is taken this often at most; older ones are dropped."""

BRUSH_STEP = 1.25


class Commands:
    """Commands by name.

    Args:
        server: of the page.
        presenter: decides.
        scene: for what concerns only how things look.
        view: gets the answers to questions.
        set_layout: shows one view, or all four.
        settings_file: where the settings are kept.
    """

    def __init__(
        self,
        server: Server,
        presenter: Presenter,
        scene: Scene,
        view: PageView,
        set_layout: Callable[[str], None],
        settings_file: Path,
    ) -> None:
        self._state = server.state
        self._presenter = presenter
        self._scene = scene
        self._view = view
        self._set_layout = set_layout
        self._settings_file = settings_file
        self._dragged: float | None = None
        self._table = self._commands()
        server.trigger("command")(self.run)

    @property
    def names(self) -> frozenset[str]:
        """Names of all commands."""
        return frozenset(self._table)

    def run(self, name: str, *arguments: Any) -> None:  # noqa: ANN401 - whatever the page sends
        """Run a command; an unknown name is ignored, because an old page may still be open."""
        command = self._table.get(name)
        if command is not None:
            command(*arguments)

    def _commands(self) -> dict[str, Callable[..., Any]]:
        p = self._presenter
        return {
            "connect": self._connect,
            "test_connection": lambda: p.connection.test(self._state.server_url, self._state.token),
            "save_settings": self._save_settings,
            "refresh": p.cases.refresh,
            "open": p.cases.open,
            "next": p.cases.next,
            "close": p.cases.close,
            "segment": p.segmentation.segment,
            "model": self._choose_model,
            "option": p.segmentation.set_option,
            "stroke_stage": p.segmentation.set_stroke_stage,
            "drag_threshold": self._drag_threshold,
            "threshold": self._threshold,
            "refine": p.segmentation.refine,
            "clear_prompts": p.segmentation.clear_prompts,
            "undo": p.editing.undo,
            "redo": p.editing.redo,
            "apply": lambda key, values=None: p.editing.apply(key, **(values or {})),
            "overlay": self._overlay,
            "overlay_opacity": lambda value: self._scene.set_overlay_opacity(float(value)),
            "next_uncertain": p.overlays.next_uncertain_region,
            "accept": lambda: p.submission.accept(then_next=True),
            "reject": lambda: p.submission.reject(then_next=True),
            "submit": p.submission.submit,
            "submit_and_next": lambda: p.submission.submit(then_next=True),
            "train": self._train,
            "stop_training": p.training.stop,
            "tab": self._tab,
            "simulate_sequence": p.simulation.choose_sequence,
            "simulate_lesion": p.simulation.choose_lesion,
            "simulate_value": lambda name, value: p.simulation.set_value(name, float(value)),
            "simulate_hold": p.simulation.hold_brightness,
            "simulate_reset": p.simulation.reset,
            "cancel": p.cancel,
            "answer": self._view.answer,
            "dismiss_error": lambda: setattr(self._state, "error", ""),
            "tool": self.use_tool,
            "brush": self._brush,
            "brush_size": lambda factor: self._brush(self._scene.tools.diameter_mm * factor),
            "sphere": self._sphere,
            "mask": self._mask_style,
            "toggle_mask": lambda: self._mask_style(not self._state.mask_visible),
            "sequence": self._sequence,
            "next_sequence": self._next_sequence,
            "layout": self._layout,
            "fit": self._scene.fit,
            "step": self._step,
            "toggle": self._toggle,
        }

    def use_tool(self, tool: str) -> None:
        """Take a tool; the same again puts it down. Without a case, the presenter says what to do first."""
        if tool not in TOOLS or (tool != "navigate" and not self._presenter.session.allow("edit")):
            return
        chosen = "navigate" if tool == self._scene.tools.active else tool
        self._scene.tools.use(chosen)
        self._state.tool = chosen

    def _connect(self) -> None:
        self._save_settings()
        self._presenter.connection.connect(self._state.server_url, self._state.token)

    def _save_settings(self) -> None:
        settings, state = self._presenter.settings, self._state
        settings.server = state.server_url
        settings.client_id = state.client_id or settings.client_id
        settings.segment_on_open = bool(state.segment_on_open)
        settings.load_sequences = bool(state.load_sequences)
        settings.refine_at_once = bool(state.refine_at_once)
        try:
            save_settings(settings, self._settings_file)
        except StrokeLabelLibError as error:
            self._view.show_error(str(error))

    def _train(self) -> None:
        """Train with what the form says; fields left empty are the server's business."""
        values: dict[str, Any] = self._state.train_values
        self._presenter.training.start({name: value for name, value in values.items() if value != ""})

    def _choose_model(self, name: str) -> None:
        self._presenter.settings.model = name
        self._presenter.session.render()

    def _drag_threshold(self, value: float) -> None:
        waiting, self._dragged = self._dragged is not None, float(value)
        if not waiting:
            asyncio.get_running_loop().create_task(self._drag())

    async def _drag(self) -> None:
        await asyncio.sleep(DRAG_PAUSE_S)
        value, self._dragged = self._dragged, None
        if value is not None:
            self._presenter.segmentation.drag_threshold(value)

    def _threshold(self, value: float) -> None:
        self._dragged = None
        self._presenter.segmentation.set_threshold(float(value))

    def _overlay(self, name: str) -> None:
        self._presenter.overlays.show("" if name == self._state.ui["overlay"] else name)

    def _brush(self, diameter_mm: float) -> None:
        self._scene.tools.set_brush(diameter_mm)
        self._state.brush_mm = round(self._scene.tools.diameter_mm, 1)

    def _sphere(self, on: bool | None = None) -> None:
        chosen = not self._scene.tools.sphere if on is None else bool(on)
        self._scene.tools.set_brush(self._scene.tools.diameter_mm, chosen)
        self._state.sphere = chosen

    def _mask_style(self, visible: bool | None = None, opacity: float | None = None) -> None:
        if visible is not None:
            self._state.mask_visible = bool(visible)
        if opacity is not None:
            self._state.mask_opacity = float(opacity)
        self._scene.set_mask_style(self._state.mask_visible, self._state.mask_opacity)

    def _sequence(self, index: int) -> None:
        self._state.shown_sequence = int(index)
        self._scene.show_sequence(int(index))

    def _next_sequence(self) -> None:
        count = len(self._state.ui["sequences"])
        if count:
            self._sequence((self._state.shown_sequence + 1) % count)

    def _layout(self, name: str) -> None:
        chosen = "four" if name == self._state.layout else name
        self._state.layout = chosen
        self._set_layout(chosen)

    def _step(self, count: int) -> None:
        self._scene.step(int(count))

    def _tab(self, name: str) -> None:
        """Show the views and tools, or the simulation."""
        if name == "simulate" and self._presenter.session.allow("simulate"):
            self._state.tab = name
            self._presenter.simulation.show()
        elif name != "simulate":
            self._state.tab = "annotate"

    def _toggle(self, name: str) -> None:
        """Open or close one of the page's dialogs and drawers."""
        if name in ("show_help", "show_settings", "show_cases", "show_train"):
            self._state[name] = not self._state[name]
