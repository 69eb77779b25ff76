"""Entry point of a user interface.

Commands are grouped: `presenter.cases.next()`, `presenter.editing.undo()`. Each may be called at any time; one that
cannot be used shows why. Nothing is returned: results reach the view through `View`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ..client.api import Client
from ..client.jobs import Runner
from ..files import VolumeFiles
from ..nifti import NiftiFiles
from .cases import Cases
from .connection import Connection
from .editing import Editing
from .overlays import Overlays
from .segmentation import Segmentation
from .session import Session, default_folder
from .settings import Settings
from .simulation import Simulation
from .submission import Submission
from .training import Training
from .view import View, ViewState
from .working_copy import WorkingCopies

AUTOSAVE_S = 10.0
"""Painted work is at most this old on disk."""


class Presenter:
    """Presenter: the logic of the interface.

    Args:
        view: shows what it is told.
        runner: `ThreadRunner`, whose `pump` the view calls by a timer; `SyncRunner` in tests.
        settings: the user's choices, changed in place.
        folder: for working copies; by default in the user's home.
        files: reads what is uploaded, writes what is exported; by default NIfTI only.
        make_client: from an address, a token and the annotator's name.
        clock: seconds.

    Attributes:
        connection: test, connect.
        cases: refresh, open, next, upload, close.
        segmentation: segment, set_stroke_stage, drag_threshold, set_threshold, add_prompt, refine, clear_prompts, poll.
        editing: mask_edited, apply, undo, redo.
        overlays: show, next_uncertain_region.
        submission: submit, accept, reject, export.
        training: start, stop, poll.
        simulation: show, choose_sequence, choose_lesion, set_value, hold_brightness, reset.
        session: what they share.
    """

    def __init__(
        self,
        view: View,
        runner: Runner,
        settings: Settings | None = None,
        folder: Path | None = None,
        files: VolumeFiles | None = None,
        make_client: Callable[[str, str, str], Client] = Client,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        copies = WorkingCopies((folder or default_folder()) / "working-copies")
        self.session = Session(
            view, runner, settings or Settings(), copies, files or NiftiFiles(), make_client, clock
        )
        self.connection = Connection(self.session)
        self.segmentation = Segmentation(self.session)
        self.cases = Cases(self.session, self.segmentation)
        self.editing = Editing(self.session)
        self.overlays = Overlays(self.session)
        self.submission = Submission(self.session, self.cases)
        self.training = Training(self.session)
        self.simulation = Simulation(self.session)
        self._saved_at = clock()

    @property
    def state(self) -> ViewState:
        """State of the view, without images."""
        return self.session.state()

    @property
    def settings(self) -> Settings:
        """Settings of the user."""
        return self.session.settings

    def start(self) -> None:
        """Show the empty state; call it once the view is built."""
        self.session.status = "Connect to a server, then open a scan."
        self.session.view.show_case(None)
        self.session.render()

    def cancel(self) -> None:
        """Stop what is going on."""
        self.session.cancel()

    def tick(self) -> None:
        """Call about every second: saves the working copy, asks how training and a request to a model go."""
        now = self.session.clock()
        if now - self._saved_at >= AUTOSAVE_S:
            self._saved_at = now
            self.session.keep_working_copy()
        self.training.poll()
        self.segmentation.poll()

    def shut_down(self) -> None:
        """Call before the view goes away: cancels, and saves what was not submitted."""
        self.session.cancel()
        self.session.keep_working_copy()
