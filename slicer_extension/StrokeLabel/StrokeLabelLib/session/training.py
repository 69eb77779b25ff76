"""Training of the model on submitted masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..client.answers import ImageEntry, ServerInfo, TrainStatus
from ..client.jobs import Job
from .session import Session

POLL_S = 3.0


class Training:
    """Commands about training."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._asked_at = -POLL_S
        self._asking = False

    def start(self, options: Mapping[str, Any] | None = None) -> None:
        """Start fine-tuning on the server; annotating continues meanwhile.

        Args:
            options: of the train task: "max_epochs", "learning_rate", "max_minutes", ...
        """
        session, client, trainer = self._session, self._session.client, self._trainer
        if not session.allow("train") or client is None:
            return

        def work(job: Job) -> TrainStatus:
            client.train(trainer, options, job)
            return client.train_status(trainer)

        def done(status: TrainStatus) -> None:
            session.training = status
            session.status = (
                "Training started; go on annotating, the new model is used as soon as it is better."
            )

        session.run("Starting the training", work, done)

    def stop(self) -> None:
        """Stop training; starting again resumes it."""
        session, client, trainer = self._session, self._session.client, self._trainer
        if not session.allow("stop_training") or client is None:
            return

        def work(job: Job) -> TrainStatus:
            client.stop_training(job)
            return client.train_status(trainer)

        def done(status: TrainStatus) -> None:
            session.training, session.status = status, "Training stopped."

        session.run("Stopping the training", work, done)

    def poll(self) -> None:
        """Ask now and then how training goes; called by `Presenter.tick`."""
        session, client, trainer = self._session, self._session.client, self._trainer
        now = session.clock()
        due = session.training.running and not self._asking and now - self._asked_at >= POLL_S
        if client is None or not due:
            return
        self._asked_at, self._asking = now, True

        def work(job: Job) -> tuple[TrainStatus, ServerInfo, tuple[ImageEntry, ...]] | None:
            try:
                return client.train_status(trainer, job), client.info(job), client.images(job)
            finally:
                self._asking = False

        session.run("Asking about the training", work, self._heard, quietly=True)

    @property
    def _trainer(self) -> str:
        return next(iter(self._session.info.trainers), "")

    def _heard(self, answers: tuple[TrainStatus, ServerInfo, tuple[ImageEntry, ...]]) -> None:
        session = self._session
        was_running = session.training.running
        session.training, session.info, session.images = answers
        if was_running and not session.training.running:
            session.status = f"Training ended: {session.training.message or session.training.state}"
