"""Training loop: AdamW on Lightning Fabric, with exact resume after a stop of any kind."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import nn

from strokelabel.errors import CheckpointError
from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.loop.checkpoint import (
    checkpoint_path,
    drop_checkpoints_after,
    load_newest_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from strokelabel.fit.loop.devices import gpu_arithmetic, make_fabric
from strokelabel.fit.loop.objective import Objective, ScoringStream, TrainingStream
from strokelabel.fit.loop.optimizer import finished_share
from strokelabel.fit.loop.prefetch import PrefetchStream
from strokelabel.fit.loop.progress import Agreement, Interruption, ProgressDisplay, TrainingProgress
from strokelabel.fit.loop.record import VALIDATION_PREFIX, DeferredRows, MlflowLog, TrainingRecord
from strokelabel.fit.loop.training_run import TrainingRun

StopReason: TypeAlias = Literal["schedule", "plateau", "time", "request"]
"""Reason why training ended: all steps are done, no better validation for long, the time is up, or a request to stop.
"""

_STOP_REASONS: tuple[StopReason, ...] = get_args(StopReason)


@dataclass(frozen=True)
class TrainingResult:
    """Result of a run.

    Attributes:
        steps: optimiser steps done, earlier runs included.
        finished: whether that is all of the schedule.
        stopped_by: why the run ended.
        best_metric: best metric of the objective in validation (for lesions, the mean Dice), None without a
            validation.
        metric_label: what that metric measures, such as "lesion Dice".
        best_step: the step of it.
        seconds: training time, earlier runs included.
        skipped: steps of this run that were left out, because their gradient was not finite or too large.
        checkpoint: the newest checkpoint.
        best_checkpoint: the checkpoint with the best validation metric, None without a validation.
        metrics: table of losses and metrics by step (CSV).
    """

    steps: int
    finished: bool
    stopped_by: StopReason
    best_metric: float | None
    metric_label: str
    best_step: int | None
    seconds: float
    skipped: int
    checkpoint: Path
    best_checkpoint: Path | None
    metrics: Path


def train(  # noqa: PLR0913
    network: nn.Module,
    stream: TrainingStream[Any],
    validation: ScoringStream[Any] | None,
    config: TrainingConfig,
    folder: Path,
    *,
    objective: Objective[Any] | None = None,
    device: str = "auto",
    on_progress: Callable[[TrainingProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrainingResult:
    """Train a network, going on from the newest checkpoint in the folder if there is one.

    On a CPU a run that was stopped or killed and started again, with the same network, streams, settings and
    number of threads, ends with the same weights and the same record, bit for bit, as one that was not.

    Args:
        network: takes (batch, channels, x, y, z); its weights are where a fresh run starts.
        stream: training batches.
        validation: validation batches, at least one; None for no validation.
        config: see `TrainingConfig`.
        folder: receives `checkpoints/`, `best.pt`, `metrics.csv` and `tensorboard/`.
        objective: what is optimised and validated; None for the segmentation of tissues and lesions.
        device: "auto", "cpu", "cuda" or "cuda:1"; under `torchrun` each process takes its own.
        on_progress: called after every step; None shows a bar on a terminal, and elsewhere a line on standard
            error every half minute.
        should_stop: asked after every step; true ends training with a checkpoint, as SIGINT and SIGTERM do.

    Raises:
        CheckpointError: the folder's checkpoints are damaged, or belong to another network.
        TrainingError: gradients stay infinite or undefined, there is no such device, or the MLflow log that was
            requested cannot be kept.
        OutputError: the folder cannot be written to.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    fabric = make_fabric(device, config.precision)
    if isinstance(stream, PrefetchStream):
        stream.feed(fabric.device)
    with gpu_arithmetic(fabric.device, tf32=config.tf32, benchmark=not config.cuda_graphs):
        run = TrainingRun(network, config, fabric, objective)
        loop = _Loop(run, config, Path(folder))
        with Interruption(should_stop).on_signals() as interruption:
            if on_progress is not None:
                return loop.go(stream, validation, interruption, on_progress)
            with ProgressDisplay(config.steps, run.step, enabled=fabric.is_global_zero) as display:
                return loop.go(stream, validation, interruption, display.show)


class _Loop:
    """Steps, validations and checkpoints, each when it is due."""

    def __init__(self, run: TrainingRun, config: TrainingConfig, folder: Path) -> None:
        self._run, self._config, self._folder = run, config, folder
        self._agreement = Agreement(run.fabric)
        self._rows = DeferredRows(run.fabric.device)
        self._last_loss = math.nan
        self._seconds_before = 0.0
        self._saved_step: int | None = None
        checkpoint = load_newest_checkpoint(folder)
        if checkpoint is not None:
            run.restore(checkpoint)
            self._seconds_before = checkpoint.seconds
            self._saved_step = run.step
        self._check_same_step()
        self._first_step = run.step
        self._started = self._last_saved = time.monotonic()

    def go(
        self,
        stream: TrainingStream[Any],
        validation: ScoringStream[Any] | None,
        interruption: Interruption,
        on_progress: Callable[[TrainingProgress], None],
    ) -> TrainingResult:
        """Train until there is a reason to stop; see `train`."""
        stopped_by, _ = self._decide(interruption)
        if stopped_by in ("schedule", "plateau"):
            return self._result(stopped_by)
        with self._open_record() as record:
            self._save(record)  # so that a kill before the first checkpoint restarts from the same weights
            while stopped_by is None:
                row = self._run.advance(stream, self._agreed_seconds())
                if validation is not None and self._is_due(self._config.validate_every):
                    row |= self._validate(validation)
                self._keep(self._rows.add(row), record)
                stopped_by, late = self._decide(interruption)
                if stopped_by is not None or late or self._is_due(self._config.checkpoint_every):
                    self._save(record)
                on_progress(self._progress())
        return self._result(stopped_by)

    def _check_same_step(self) -> None:
        """Refuse processes that read different checkpoints; and let none write before all have read."""
        step, minus_first = self._agreement.largest(self._run.step, -self._run.step)
        if step != -minus_first:
            raise CheckpointError(
                f"{self._folder}: expected every process to find the same checkpoint, found steps {-minus_first} to "
                f"{step}; use a folder that all machines share"
            )

    def _open_record(self) -> closing[TrainingRecord] | nullcontext[None]:
        """Open the record, which the first process keeps alone."""
        if not self._run.fabric.is_global_zero:
            return nullcontext()
        drop_checkpoints_after(self._folder, self._run.step)
        store = self._config.mlflow
        log = MlflowLog(store, self._folder, self._config.model_dump()) if store is not None else None
        return closing(TrainingRecord(self._folder, self._run.step, self._run.objective.score_names, log))

    def _validate(self, validation: ScoringStream[Any]) -> dict[str, float]:
        """Score the run; a best score so far is kept in `best.pt`."""
        scores, best = self._run.score(validation)
        if best and self._run.fabric.is_global_zero:
            checkpoint = self._run.to_checkpoint(self._seconds())
            save_checkpoint(self._best_path, replace(checkpoint, optimizer={}, scaler={}))
        return {VALIDATION_PREFIX + name: value for name, value in scores.items()}

    def _keep(self, rows: list[dict[str, float]], record: TrainingRecord | None) -> None:
        """Put finished rows into the record."""
        for row in rows:
            self._run.check_gradients([row])
            self._last_loss = row["loss"]
            if record is not None:
                record.add(row)

    def _decide(self, interruption: Interruption) -> tuple[StopReason | None, bool]:
        """Return the reason to stop now, if there is one; and whether a checkpoint is due by time."""
        reason: StopReason | None = None
        if finished_share(self._run.step, self._agreed_seconds(), self._config) >= 1:
            reason = "schedule"
        elif self._run.best.is_exhausted(self._config.early_stopping_patience):
            reason = "plateau"
        elif interruption:
            reason = "request"
        elif _minutes_since(self._started) >= (self._config.max_minutes or math.inf):
            reason = "time"
        late = _minutes_since(self._last_saved) >= (self._config.checkpoint_minutes or math.inf)
        own = 0 if reason is None else 1 + _STOP_REASONS.index(reason)
        code, anyone_late = self._agreement.largest(own, int(late))
        return (_STOP_REASONS[code - 1] if code else None), bool(anyone_late)

    def _is_due(self, every: int) -> bool:
        """Return whether the step is a multiple of `every`, or the last one; never if `every` is 0."""
        return every > 0 and (self._run.step % every == 0 or self._run.step == self._config.steps)

    def _save(self, record: TrainingRecord | None) -> None:
        """Write a checkpoint unless there is one of this step; the record first, so that it is never behind."""
        self._keep(self._rows.flush(), record)
        if record is not None and self._saved_step != self._run.step:
            record.sync()
            checkpoint = self._run.to_checkpoint(self._seconds())
            save_checkpoint(checkpoint_path(self._folder, self._run.step), checkpoint)
            prune_checkpoints(self._folder, self._config.keep_last)
        self._saved_step = self._run.step
        self._last_saved = time.monotonic()

    def _progress(self) -> TrainingProgress:
        pace = (time.monotonic() - self._started) / (self._run.step - self._first_step)
        label = self._run.objective.metric_label
        return TrainingProgress(
            self._run.step, self._config.steps, self._last_loss, pace, self._run.best.metric, label
        )

    def _agreed_seconds(self) -> float:
        """Return the training time so far, the same in all processes; 0 where the schedule does not depend on it."""
        if self._config.schedule_minutes is None:
            return 0.0
        return self._agreement.largest(int(1000 * self._seconds()))[0] / 1000

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    @property
    def _best_path(self) -> Path:
        return self._folder / "best.pt"

    def _result(self, stopped_by: StopReason) -> TrainingResult:
        run = self._run
        return TrainingResult(
            steps=run.step,
            finished=stopped_by == "schedule",
            stopped_by=stopped_by,
            best_metric=run.best.metric,
            metric_label=run.objective.metric_label,
            best_step=run.best.step,
            seconds=self._seconds(),
            skipped=run.skipped,
            checkpoint=checkpoint_path(self._folder, run.step),
            best_checkpoint=self._best_path if run.best.metric is not None else None,
            metrics=self._folder / "metrics.csv",
        )


def _minutes_since(moment: float) -> float:
    return (time.monotonic() - moment) / 60
