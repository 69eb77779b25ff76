"""Interface of a user interface, without logic.

3D Slicer's widget and the browser page implement `View` and call the commands of `Presenter`. All calls happen on
the view's own thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..client.answers import ImageEntry, InferProgress, ModelInfo, TrainStatus
from ..volume import Volume
from .case import Case
from .options import OptionField
from .simulation_state import SimulationState


@dataclass(frozen=True)
class Measurements:
    """Read-outs of the mask that is shown.

    Attributes:
        volume_ml, count: of the lesion, and of its parts that do not touch.
        dice_to_model: overlap with what the model answered; None before it did.
        changed_ml: volume that differs from what the model answered; None before it did.
        structures: lines about the structures that the lesion touches; empty where the server has no model for them.
        outcome: lines about the estimated outcome of the stroke; empty where the server estimates none.
    """

    volume_ml: float = 0.0
    count: int = 0
    dice_to_model: float | None = None
    changed_ml: float | None = None
    structures: tuple[str, ...] = ()
    outcome: tuple[str, ...] = ()


@dataclass(frozen=True)
class ViewState:
    """State of the view, without images. A new one is given to `View.render` after each change.

    Attributes:
        server: its address; connected: whether it answered; server_text: what it is, for users.
        busy: what is going on, "" if nothing; can_cancel: whether Cancel stops it.
        progress: of what is going on; None where it is not known.
        status: the last thing that happened, for users.
        blocked: command -> why it cannot be used now, for its tooltip; commands that are not in it can be used.
        images: the cases, in the server's order; open_image: id of the one that is open, "" if none.
        completed, total: scans with a final label, and all.
        sequences: names of the open visit's scans; the first has the mask.
        models: tasks that segment, for a choice; model: the chosen one.
        options: of the chosen task, with their present values.
        stroke_stages: choices for the stage of the stroke; none where the chosen model estimates no outcome.
        stroke_stage: the chosen one, "" without a case.
        threshold: on the probability; None for the model's own decision.
        measurements: read-outs.
        undo_name, redo_name: "" if there is nothing to undo or redo.
        dirty: whether there is work that was not submitted.
        is_pseudo_label: whether accept and reject make sense.
        overlay: name of the overlay that is shown, "" if none.
        train_options: of the train task, with their defaults; `Training.start` takes them. None without such a task.
        training: how it goes.
        simulation: the simulated scan and its parameters.
    """

    server: str = ""
    connected: bool = False
    server_text: str = ""
    busy: str = ""
    can_cancel: bool = False
    progress: InferProgress | None = None
    status: str = ""
    blocked: Mapping[str, str] = field(default_factory=dict)
    images: tuple[ImageEntry, ...] = ()
    open_image: str = ""
    completed: int = 0
    total: int = 0
    sequences: tuple[str, ...] = ()
    models: tuple[ModelInfo, ...] = ()
    model: str = ""
    options: tuple[OptionField, ...] = ()
    stroke_stages: tuple[str, ...] = ()
    stroke_stage: str = ""
    threshold: float | None = None
    measurements: Measurements = Measurements()
    undo_name: str = ""
    redo_name: str = ""
    dirty: bool = False
    is_pseudo_label: bool = False
    overlay: str = ""
    train_options: tuple[OptionField, ...] = ()
    training: TrainStatus = field(default_factory=TrainStatus)
    simulation: SimulationState = field(default_factory=SimulationState)

    @property
    def busy_text(self) -> str:
        """Current work and its progress, for users; "" if nothing is going on."""
        said = self.progress.text if self.busy and self.progress else ""
        return f"{self.busy}: {said}" if said else self.busy

    def can(self, command: str) -> bool:
        """Return whether a command can be used now."""
        return command not in self.blocked


@dataclass(frozen=True, eq=False)
class Overlay:
    """An image over the scan, between it and the mask.

    Attributes:
        name: "probability", "uncertainty", "tissues", "model", "asymmetry".
        volume: on the scan's grid; float32, or labels.
        value_range: values of the ends of the colour scale; voxels below its lower end are transparent.
        color_map: a name that VTK and Matplotlib know: "inferno", "viridis", "coolwarm"; "" for labels.
        colors: of labels: value -> (name, red, green, blue) with 8 bits; empty for colour maps.
        opacity: 0 to 1.
    """

    name: str
    volume: Volume
    value_range: tuple[float, float] = (0.0, 1.0)
    color_map: str = "inferno"
    colors: Mapping[int, tuple[str, int, int, int]] = field(default_factory=dict)
    opacity: float = 0.5


@dataclass(frozen=True)
class Prompt:
    """A click that is shown until the mask is refined.

    Attributes:
        kind: "lesion" or "not lesion".
        point_mm: RAS.
    """

    kind: str
    point_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Question:
    """A question to the user.

    Attributes:
        text: one or two sentences.
        answers: key -> what the button says; the first is the safe one, taken when the question is dismissed.
    """

    text: str
    answers: Mapping[str, str]


class View(Protocol):
    """A user interface."""

    def render(self, state: ViewState) -> None:
        """Show the small things: texts, numbers, which buttons can be used."""

    def show_case(self, case: Case | None) -> None:
        """Show the scans of a case, linked, its first in front; remove what was shown before. None: nothing is open."""

    def show_mask(self, mask: Volume) -> None:
        """Show a mask (uint8, 1 inside the lesion) on the open scan's grid as the segment "lesion".

        This must not come back through `Presenter.editing.mask_edited`.
        """

    def show_overlay(self, overlay: Overlay | None) -> None:
        """Show an overlay instead of the one before; None: no overlay."""

    def show_prompts(self, prompts: tuple[Prompt, ...]) -> None:
        """Show these clicks and no others."""

    def jump_to(self, point_mm: tuple[float, float, float]) -> None:
        """Show the slices through a point (RAS)."""

    def show_error(self, sentence: str) -> None:
        """Show what went wrong until the user has read it."""

    def ask(self, question: Question, reply: Callable[[str], None]) -> None:
        """Ask, at once or later, and call `reply` once with the key of the answer."""
