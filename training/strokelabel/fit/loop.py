"""The training loop: AdamW on Lightning Fabric, with exact resume after a stop of any kind."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import nn

from strokelabel.fit.checkpoint import (
    checkpoint_path,
    drop_checkpoints_after,
    load_newest_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.devices import make_fabric
from strokelabel.fit.interruption import Interruption
from strokelabel.fit.objective import Objective, ScoringStream, TrainingStream
from strokelabel.fit.progress import ProgressDisplay, TrainingProgress
from strokelabel.fit.record import VALIDATION_PREFIX, TrainingRecord
from strokelabel.fit.run import TrainingRun

_Choice = TypeVar("_Choice")

StopReason: TypeAlias = Literal["schedule", "time", "request"]
"""Why training ended: nothing is left to do, the time is up, or somebody asked."""


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    Attributes:
        steps: optimiser steps done, earlier runs included.
        finished: whether that is all of the schedule.
        stopped_by: why the run ended.
        best_metric: best metric of the objective in validation (for lesions, the mean Dice), None without a
            validation.
        best_step: the step of it.
        seconds: training time, earlier runs included.
        checkpoint: the newest checkpoint.
        best_checkpoint: the checkpoint with the best validation metric, None without a validation.
        metrics: table of losses and metrics by step (CSV).
    """

    steps: int
    finished: bool
    stopped_by: StopReason
    best_metric: float | None
    best_step: int | None
    seconds: float
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
        TrainingError: gradients stay infinite or undefined, or there is no such device.
        OutputError: the folder cannot be written to.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    run = TrainingRun(network, config, make_fabric(device, config.precision), objective)
    loop = _Loop(run, config, Path(folder))
    with Interruption(should_stop).on_signals() as interruption:
        if on_progress is not None:
            return loop.go(stream, validation, interruption, on_progress)
        with ProgressDisplay(config.steps, run.step, enabled=run.fabric.is_global_zero) as display:
            return loop.go(stream, validation, interruption, display.show)


class _Loop:
    """Steps, validations and checkpoints, each when it is due."""

    def __init__(self, run: TrainingRun, config: TrainingConfig, folder: Path) -> None:
        self._run, self._config, self._folder = run, config, folder
        self._fabric = run.fabric
        self._seconds_before = 0.0
        self._saved_step: int | None = None
        checkpoint = load_newest_checkpoint(folder)
        if checkpoint is not None:
            run.restore(checkpoint)
            self._seconds_before = checkpoint.seconds
            self._saved_step = run.step
        self._first_step = run.step
        self._started = self._last_saved = time.monotonic()

    def go(
        self,
        stream: TrainingStream[Any],
        validation: ScoringStream[Any] | None,
        interruption: Interruption,
        on_progress: Callable[[TrainingProgress], None],
    ) -> TrainingResult:
        """Train until the schedule or the time ends, or somebody asks; see `train`."""
        if self._run.step >= self._config.steps:
            return self._result("schedule")
        with self._open_record() as record:
            self._save(record)  # so that a kill before the first checkpoint restarts from the same weights
            stopped_by = self._stop_reason(interruption)
            while stopped_by is None:
                row = self._run.advance(stream)
                if validation is not None and self._is_due(self._config.validate_every):
                    row |= self._validate(validation)
                if record is not None:
                    record.add(row)
                stopped_by = self._stop_reason(interruption)
                if stopped_by is not None or self._checkpoint_is_due():
                    self._save(record)
                on_progress(self._progress(row["loss"]))
        return self._result(stopped_by)

    def _open_record(self) -> closing[TrainingRecord] | nullcontext[None]:
        """The record, which the first process keeps alone."""
        if not self._fabric.is_global_zero:
            return nullcontext()
        drop_checkpoints_after(self._folder, self._run.step)
        return closing(TrainingRecord(self._folder, self._run.step, self._run.objective.score_names))

    def _validate(self, validation: ScoringStream[Any]) -> dict[str, float]:
        """Score the run; a best score so far is kept in `best.pt`."""
        scores, best = self._run.score(validation)
        if best and self._fabric.is_global_zero:
            checkpoint = self._run.to_checkpoint(self._seconds())
            save_checkpoint(self._best_path, replace(checkpoint, optimizer={}, scaler={}))
        return {VALIDATION_PREFIX + name: value for name, value in scores.items()}

    def _stop_reason(self, interruption: Interruption) -> StopReason | None:
        """The reason to stop now, if there is one."""
        reason: StopReason | None = None
        if self._run.step >= self._config.steps:
            reason = "schedule"
        elif interruption:
            reason = "request"
        elif _minutes_since(self._started) >= (self._config.max_minutes or math.inf):
            reason = "time"
        return self._agree(reason)

    def _checkpoint_is_due(self) -> bool:
        """Whether steps or minutes since the last checkpoint ask for one."""
        late = _minutes_since(self._last_saved) >= (self._config.checkpoint_minutes or math.inf)
        return self._is_due(self._config.checkpoint_every) or self._agree(late)

    def _agree(self, choice: _Choice) -> _Choice:
        """The first process decides for all, so that clocks and signals cannot part them."""
        return self._fabric.broadcast(choice) if self._fabric.world_size > 1 else choice

    def _is_due(self, every: int) -> bool:
        """Whether the step is a multiple of `every`, or the last one; never if `every` is 0."""
        return every > 0 and (self._run.step % every == 0 or self._run.step == self._config.steps)

    def _save(self, record: TrainingRecord | None) -> None:
        """Write a checkpoint unless there is one of this step; the record first, so that it is never behind."""
        if record is not None and self._saved_step != self._run.step:
            record.sync()
            checkpoint = self._run.to_checkpoint(self._seconds())
            save_checkpoint(checkpoint_path(self._folder, self._run.step), checkpoint)
            prune_checkpoints(self._folder, self._config.keep_last)
        self._saved_step = self._run.step
        self._last_saved = time.monotonic()

    def _progress(self, loss: float) -> TrainingProgress:
        pace = (time.monotonic() - self._started) / (self._run.step - self._first_step)
        label = self._run.objective.metric_label
        return TrainingProgress(self._run.step, self._config.steps, loss, pace, self._run.best_metric, label)

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    @property
    def _best_path(self) -> Path:
        return self._folder / "best.pt"

    def _result(self, stopped_by: StopReason) -> TrainingResult:
        run = self._run
        return TrainingResult(
            steps=run.step,
            finished=run.step >= self._config.steps,
            stopped_by=stopped_by,
            best_metric=run.best_metric,
            best_step=run.best_step,
            seconds=self._seconds(),
            checkpoint=checkpoint_path(self._folder, run.step),
            best_checkpoint=self._best_path if run.best_metric is not None else None,
            metrics=self._folder / "metrics.csv",
        )


def _minutes_since(moment: float) -> float:
    return (time.monotonic() - moment) / 60
