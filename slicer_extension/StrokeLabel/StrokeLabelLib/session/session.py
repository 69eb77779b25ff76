"""State that the parts of the presenter share: the view, the server, the open case, and the one job that runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..client.answers import ImageEntry, ModelInfo, ServerInfo, TrainStatus
from ..client.api import Client
from ..client.jobs import Job, Runner, Work
from ..errors import ServerUnavailableError, StrokeLabelLibError
from ..files import VolumeFiles
from ..ops.strokes import LesionMask
from .availability import blocked_commands
from .case import Case
from .options import CHOSEN_ELSEWHERE, OptionField, option_fields
from .report import measure
from .settings import Settings
from .simulation_state import SimulationState
from .view import Measurements, Prompt, View, ViewState
from .working_copy import WorkingCopies

SEGMENTING_KINDS = ("segmentation", "detection")


@dataclass(eq=False)
class Session:
    """Session of one user with one server.

    Attributes:
        view: what the user sees.
        runner: how requests run beside it.
        settings: the user's choices.
        copies: masks that were not submitted, on this computer.
        files: reads and writes volumes.
        make_client: from an address, a token and the annotator's name.
        clock: seconds.
        options: chosen options by task, as far as they differ from the defaults.
    """

    view: View
    runner: Runner
    settings: Settings
    copies: WorkingCopies
    files: VolumeFiles
    make_client: Callable[[str, str, str], Client]
    clock: Callable[[], float] = time.monotonic

    client: Client | None = None
    info: ServerInfo = field(default_factory=ServerInfo)
    images: tuple[ImageEntry, ...] = ()
    case: Case | None = None
    job: Job | None = None
    status: str = ""
    overlay: str = ""
    prompts: tuple[Prompt, ...] = ()
    training: TrainStatus = field(default_factory=TrainStatus)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    simulation: SimulationState = field(default_factory=SimulationState)
    measurements: Measurements = field(default_factory=Measurements)
    _saved: LesionMask | None = None

    def allow(self, command: str) -> bool:
        """Return whether a command can be used now; if not, the view shows the reason."""
        reason = blocked_commands(self).get(command)
        if reason:
            self.view.show_error(reason)
        return not reason

    def run(self, message: str, work: Work, done: Callable[[Any], None], *, quietly: bool = False) -> Job:
        """Run work beside the view; its result is dropped when the case changed meanwhile.

        Args:
            message: the current step, for users.
            work: blocks; touches neither view nor case.
            done: called with its result on the view's thread.
            quietly: in the background: it neither blocks commands nor shows errors.
        """
        job, case = Job(message), self.case
        if not quietly:
            self.job = job
            self.render()

        def finish(deliver: Callable[[], None]) -> None:
            if self.job is job:
                self.job = None
            try:
                if self.case is case:
                    deliver()
            except StrokeLabelLibError as error:
                self.fail(error)
            self.render()

        def failed(error: StrokeLabelLibError) -> None:
            finish(lambda: None if quietly else self.fail(error))

        self.runner.run(job, work, lambda result: finish(lambda: done(result)), failed)
        return job

    def cancel(self) -> None:
        """Stop what is going on; nothing of it will happen."""
        if self.job is not None:
            self.job.cancel()
            self.status, self.job = f"Cancelled: {self.job.message}", None
            self.render()

    def fail(self, error: StrokeLabelLibError) -> None:
        """Tell the user, after the work was saved."""
        kept = self.keep_working_copy()
        addition = " What you painted is kept on this computer." if kept and _is_down(error) else ""
        self.status = str(error)
        self.view.show_error(f"{error}{addition}")

    def keep_working_copy(self) -> bool:
        """Save the mask on this computer if there is work that was not submitted; whether there was."""
        if self.case is None or not self.case.dirty or self.client is None:
            return False
        if self._saved is self.case.mask:
            return True
        try:
            self.copies.save(self.client.url, self.case)
            self._saved = self.case.mask
        except StrokeLabelLibError as error:
            self.view.show_error(str(error))
            return False
        return True

    def mask_changed(self) -> None:
        """Update the mask in the views, and measure it; `render` shows the measurements."""
        if self.case is not None:
            self.view.show_mask(self.case.mask_volume)
            self.measurements = measure(self.case)

    def render(self) -> None:
        """Update the rest of the view."""
        self.view.render(self.state())

    @property
    def stroke_stages(self) -> tuple[str, ...]:
        """Stages that can be said of a stroke to the chosen model; none where it estimates no outcome."""
        model = self.info.models.get(self.settings.model)
        return () if model is None else model.stroke_stages

    def options_of(self, task: str) -> dict[str, Any]:
        """Return the chosen options of a task, as far as the server that is connected takes them."""
        known = self.info.models.get(task, ModelInfo(task)).options
        return {name: value for name, value in self.options.get(task, {}).items() if name in known}

    @property
    def option_fields(self) -> tuple[OptionField, ...]:
        """Options of the chosen model, as fields of a form."""
        model = self.info.models.get(self.settings.model, ModelInfo(""))
        return option_fields(model, self.options_of(model.name), CHOSEN_ELSEWHERE)

    def state(self) -> ViewState:
        """Return the state of the view, without images."""
        case, info = self.case, self.info
        return ViewState(
            server=self.settings.server,
            connected=self.client is not None,
            server_text=f"{info.name} {info.version}".strip(),
            busy=self.job.message if self.job else "",
            can_cancel=self.job is not None,
            progress=self.job.progress if self.job else None,
            status=self.status,
            blocked=blocked_commands(self),
            images=self.images,
            open_image=case.image.image_id if case else "",
            completed=sum(image.status == "submitted" for image in self.images),
            total=len(self.images),
            sequences=tuple(s.image.sequence for s in case.sequences) if case else (),
            models=tuple(m for m in info.models.values() if m.kind in SEGMENTING_KINDS),
            model=self.settings.model,
            options=self.option_fields,
            stroke_stages=self.stroke_stages,
            stroke_stage=(case.stroke_stage or next(iter(self.stroke_stages), "")) if case else "",
            threshold=case.provenance.threshold if case else None,
            measurements=self.measurements,
            undo_name=case.history.undo_name if case else "",
            redo_name=case.history.redo_name if case else "",
            dirty=bool(case and case.dirty),
            is_pseudo_label=bool(case and case.is_pseudo_label),
            overlay=self.overlay,
            train_options=option_fields(next(iter(info.trainers.values()), ModelInfo(""))),
            training=self.training,
            simulation=self.simulation,
        )


def _is_down(error: StrokeLabelLibError) -> bool:
    return isinstance(error, ServerUnavailableError)


def default_folder() -> Path:
    """Return the folder of a user's settings and working copies."""
    return Path.home() / ".strokelabel" / "annotator"
