"""Fine-tuning on submitted labels: sessions that can be stopped and killed, with a gate at their end."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from strokelabel.fit.fine_tuning.cases import SubmittedLabel, prepare_cases, split_cases
from strokelabel.fit.fine_tuning.options import FineTuneOptions, FineTuneResult
from strokelabel.fit.fine_tuning.session import OnProgress, Session
from strokelabel.fit.fine_tuning.synthetic import synthetic_part
from strokelabel.fit.fine_tuning.versions import ModelVersions
from strokelabel.fit.loop.devices import training_device
from strokelabel.fit.loop.local_processes import train_together
from strokelabel.fit.loop.training_loop import TrainingResult
from strokelabel.io.atomic import atomic_write_json

_KEPT_SESSIONS = 3
"""Folders of sessions that are kept; a version needs none of them."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class FineTuning:
    """Sessions of a model in a folder.

    Attributes:
        versions: of the model; a session begins with the active one and adds to them.
        folder: of sessions, prepared scans and synthetic data.
        prepared: folder of `strokelabel prepare`; None for synthetic data from the ICBM template.
        device: "auto", "cpu", "cuda" or "cuda:1".
        processes: that share each step's items; with the device "cuda", one for each GPU (see `gpus_of`).
    """

    versions: ModelVersions
    folder: Path
    prepared: Path | None = None
    device: str = "auto"
    processes: int = 1

    def run(
        self,
        labels: Sequence[SubmittedLabel],
        options: FineTuneOptions,
        *,
        on_progress: OnProgress | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> FineTuneResult:
        """Fine-tune the active version, evaluate the result, and activate it if it is not worse.

        A session is known by its labels, its options and the weights that it begins with. Started again after a stop
        or a kill it continues from its newest checkpoint; started again after its end it returns the recorded result.

        Args:
            labels: what annotators submitted.
            options: see `FineTuneOptions`.
            on_progress: called after every step.
            should_stop: asked after every step; true ends training with a checkpoint, and without a judgement.

        Raises:
            DataError: none of the labels can be used.
            CheckpointError, TrainingError, OutputError: see `fit.loop.train`.
        """
        session = self._begin(labels, options)
        if earlier := session.recorded():
            return earlier.model_copy(update={"repeated": True, "active": self.versions.active()[0]})
        _LOG.info("%s", session)
        result = self._train(session, labels, options, on_progress, should_stop)
        if result.stopped_by == "request":
            return session.result(result, None)
        finished = session.judge(result)
        if result.stopped_by != "time" or (finished.decision and finished.decision.activate):
            atomic_write_json(session.folder / "result.json", finished.model_dump(mode="json"))
        self._prune(session.folder)
        return finished

    def _train(
        self,
        session: Session,
        labels: Sequence[SubmittedLabel],
        options: FineTuneOptions,
        on_progress: OnProgress | None,
        should_stop: Callable[[], bool] | None,
    ) -> TrainingResult:
        if self.processes == 1:
            return session.train(on_progress, should_stop)
        session.lesions_to_paste()  # once, and kept: the processes find them
        work = partial(_train_alike, self, tuple(labels), options)
        return train_together(work, self.processes, on_progress, should_stop)

    def _begin(self, labels: Sequence[SubmittedLabel], options: FineTuneOptions) -> Session:
        parent, spec = self.versions.active()
        device = training_device(self.device)
        cases, refused = prepare_cases(labels, spec.spacing_mm, self.folder / "scans")
        split = split_cases(cases, options.validation_fraction, self.versions.trained_on())
        synthetic = synthetic_part(spec, self.prepared, self.folder / "synthetic", device)
        key = {
            "parent": spec.sha256,
            "labels": [
                [c.submitted.name, c.image_sha256, c.label_sha256, c.submitted.lesion_value] for c in cases
            ],
            "options": options.model_dump(mode="json", exclude={"max_minutes", "threads"}),
            "synthetic": synthetic.identity(options.benchmark_per_family) if synthetic else None,
            **({"processes": self.processes} if self.processes > 1 else {}),
        }
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        folder = self.folder / "sessions" / name
        return Session(
            self.versions,
            self.folder / "scans",
            folder,
            parent,
            spec,
            options,
            split,
            refused,
            synthetic,
            device,
            self.processes,
        )

    def _prune(self, current: Path) -> None:
        """Delete the sessions that were touched longest ago."""
        others = [path for path in current.parent.iterdir() if path.is_dir() and path != current]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[_KEPT_SESSIONS - 1 :]:
            shutil.rmtree(path, ignore_errors=True)


def _train_alike(
    tuning: FineTuning,
    labels: Sequence[SubmittedLabel],
    options: FineTuneOptions,
    on_progress: OnProgress,
    should_stop: Callable[[], bool],
) -> TrainingResult:
    """Train in one of several processes on the session that they share."""
    return tuning._begin(labels, options).train(on_progress, should_stop)
