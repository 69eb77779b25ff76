"""View of the presenter: small values go into the page's state, images into the scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from StrokeLabelLib.client.answers import ImageEntry
from StrokeLabelLib.session.case import Case
from StrokeLabelLib.session.options import OptionField
from StrokeLabelLib.session.simulation_state import SimulationState
from StrokeLabelLib.session.view import Overlay, Prompt, Question, ViewState
from StrokeLabelLib.volume import Volume
from trame_server.state import State

from .scene import Scene
from .simulation import as_page_state as simulation_page_state
from .simulation import slider_values

STATUS_TEXT = {
    "new": "not labelled yet",
    "pseudo-label": "a model's mask waits for a check",
    "rejected": "the model's mask was rejected",
    "submitted": "submitted",
}


class PageView:
    """View of the page; see `StrokeLabelLib.session.view.View`.

    Args:
        state: of the page.
        scene: what the four views show.
    """

    def __init__(self, state: State, scene: Scene) -> None:
        self._state = state
        self._scene = scene
        self._reply: Callable[[str], None] | None = None
        self._simulated = SimulationState()

    def render(self, state: ViewState) -> None:
        """Show texts, numbers, and which buttons can be used."""
        with self._state:
            self._state.ui = as_page_state(state)
            self._state.cases = [_row(image) for image in state.images]
            self._show_form("train", state.train_options)
            self._show_form("segment", state.options)
            self._show_simulation(state)
            if state.threshold is not None:
                self._state.threshold = round(state.threshold, 2)

    def _show_form(self, form: str, fields: tuple[OptionField, ...]) -> None:
        """Show the fields of a form, and their values once they are others than before."""
        options = option_form(fields)
        if options != self._state[f"{form}_options"]:
            self._state[f"{form}_options"] = options
            self._state[f"{form}_values"] = {option["name"]: option["value"] for option in options}

    def _show_simulation(self, state: ViewState) -> None:
        """Show the simulation; the sliders move by themselves, but for another sequence and its usual values."""
        simulated = state.simulation
        if simulated == self._simulated:
            return
        fresh = simulated.sequence != self._simulated.sequence or simulated.resets != self._simulated.resets
        self._simulated = simulated
        if fresh:
            self._state.simulation_values = slider_values(simulated)
        self._state.simulation = simulation_page_state(simulated)

    def show_case(self, case: Case | None) -> None:
        """Show the scans of a case."""
        self._scene.show_case(case)
        with self._state:
            self._state.tool, self._state.shown_sequence = "navigate", 0
            self._state.threshold, self._state.mask_visible = 0.5, True

    def show_mask(self, mask: Volume) -> None:
        """Show a mask on the scan's grid."""
        self._scene.show_mask(mask)

    def show_overlay(self, overlay: Overlay | None) -> None:
        """Show an overlay, or none."""
        self._scene.show_overlay(overlay)
        with self._state:
            self._state.legend = _legend(overlay)
            if overlay is not None:
                self._state.overlay_opacity = overlay.opacity

    def show_prompts(self, prompts: tuple[Prompt, ...]) -> None:
        """Show the clicks that are not used yet."""
        self._scene.show_prompts(prompts)
        with self._state:
            self._state.prompt_count = len(prompts)

    def jump_to(self, point_mm: tuple[float, float, float]) -> None:
        """Show the slices through a point (RAS)."""
        self._scene.jump_to(point_mm)

    def show_error(self, sentence: str) -> None:
        """Show what went wrong until the user has read it."""
        with self._state:
            self._state.error = sentence

    def ask(self, question: Question, reply: Callable[[str], None]) -> None:
        """Ask in a dialog; the answer comes through `answer`."""
        self._reply = reply
        answers = [{"key": key, "text": text} for key, text in question.answers.items()]
        with self._state:
            self._state.question = {"text": question.text, "answers": answers}

    def answer(self, key: str) -> None:
        """Give the question's answer to the caller of `ask`."""
        reply, self._reply = self._reply, None
        with self._state:
            self._state.question = None
        if reply is not None:
            reply(key)


def as_page_state(state: ViewState) -> dict[str, Any]:
    """Return the variables of the page's templates, as JSON."""
    measured, training = state.measurements, state.training
    return {
        "server": state.server,
        "server_text": state.server_text,
        "connected": state.connected,
        "busy": state.busy_text,
        "percent": _percent(state),
        "can_cancel": state.can_cancel,
        "status": state.status,
        "blocked": dict(state.blocked),
        "open_image": state.open_image,
        "completed": state.completed,
        "total": state.total,
        "sequences": list(state.sequences),
        "models": [{"title": m.title, "value": m.name} for m in state.models],
        "model": state.model,
        "changed_options": [f"{f.text} {f.value}" for f in state.options if f.value != f.default],
        "stroke_stages": list(state.stroke_stages),
        "stroke_stage": state.stroke_stage,
        "has_threshold": state.threshold is not None,
        "volume": f"{measured.volume_ml:.2f}" if measured.volume_ml < 10 else f"{measured.volume_ml:.1f}",
        "count": measured.count,
        "dice": None if measured.dice_to_model is None else f"{measured.dice_to_model:.2f}",
        "changed": None if measured.changed_ml is None else f"{measured.changed_ml:.2f}",
        "has_report": measured.dice_to_model is not None,
        "structures": list(measured.structures),
        "outcome": list(measured.outcome),
        "undo": state.undo_name,
        "redo": state.redo_name,
        "dirty": state.dirty,
        "is_pseudo_label": state.is_pseudo_label,
        "overlay": state.overlay,
        "training": {
            "running": training.running,
            "state": training.state,
            "epoch": training.epoch,
            "epochs": training.epochs,
            "best": f"{training.best_metric:.2f}" if training.best_metric else "",
            "message": training.message,
        },
    }


def _percent(state: ViewState) -> int | None:
    """Return how far the running request is; None where that is not known."""
    progress = state.progress
    return round(100 * progress.fraction) if progress is not None and progress.stage else None


def option_form(fields: tuple[OptionField, ...]) -> list[dict[str, Any]]:
    """Return the fields of a form, as JSON."""
    return [
        {
            "name": f.name,
            "text": f.text,
            "kind": f.kind,
            "value": f.value,
            "default": f.default,
            "choices": list(f.choices),
        }
        for f in fields
    ]


def _row(image: ImageEntry) -> dict[str, str]:
    title = f"sub-{image.subject}" if image.subject else image.image_id
    detail = " · ".join(part for part in (image.session and f"ses-{image.session}", image.sequence) if part)
    return {
        "id": image.image_id,
        "title": title,
        "detail": detail if image.subject else "",
        "status": image.status,
        "status_text": STATUS_TEXT.get(image.status, image.status),
    }


def _legend(overlay: Overlay | None) -> dict[str, Any] | None:
    if overlay is None:
        return None
    colors = [{"name": name, "css": f"rgb({r},{g},{b})"} for name, r, g, b in overlay.colors.values()]
    low, high = overlay.value_range
    return {
        "name": overlay.name,
        "colors": colors,
        "low": f"{low:.2g}",
        "high": f"{high:.2g}",
        "map": overlay.color_map,
    }
