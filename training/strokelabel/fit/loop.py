"""The training loop: AdamW on Lightning Fabric, with exact resume after a stop of any kind."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from strokelabel.errors import CheckpointError, TrainingError
from strokelabel.fit.checkpoint import (
    Checkpoint,
    checkpoint_path,
    drop_checkpoints_after,
    load_newest_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.devices import make_fabric
from strokelabel.fit.ema import WeightAverage
from strokelabel.fit.interruption import Interruption
from strokelabel.fit.losses import DiceCrossEntropy
from strokelabel.fit.optimizer import make_optimizer
from strokelabel.fit.progress import ProgressDisplay, TrainingProgress
from strokelabel.fit.record import TrainingRecord
from strokelabel.fit.schedule import learning_rate
from strokelabel.fit.streams import BatchStream, ValidationStream
from strokelabel.fit.validation import validate

StopReason: TypeAlias = Literal["schedule", "time", "request"]

_MAX_SKIPPED = 20
"""Steps in a row with a non-finite gradient before training is given up."""


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    Attributes:
        steps: optimiser steps done, earlier runs included.
        finished: whether that is all of the schedule.
        stopped_by: why the run ended.
        best_metric: best mean lesion Dice in validation, None without a validation.
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


def train(
    network: nn.Module,
    stream: BatchStream,
    validation: ValidationStream | None,
    config: TrainingConfig,
    folder: Path,
    *,
    device: str = "auto",
    on_progress: Callable[[TrainingProgress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> TrainingResult:
    """Train a network, going on from the newest checkpoint in the folder if there is one.

    On a CPU a run that was stopped or killed and started again, with the same network, streams, settings and
    number of threads, ends with the same weights and the same record, bit for bit, as one that was not.

    Args:
        network: takes (batch, channels, x, y, z) and gives logits; its weights are where a fresh run starts.
        stream: training batches.
        validation: validation batches; None for no validation.
        config: see `TrainingConfig`.
        folder: receives `checkpoints/`, `best.pt`, `metrics.csv` and `tensorboard/`.
        device: "auto", "cpu", "cuda" or "cuda:1"; under `torchrun` each process takes its own.
        on_progress: called after every step; None shows a bar on a terminal, and elsewhere a line on standard
            error every half minute.
        should_stop: asked after every step; true ends training with a checkpoint, as SIGINT and SIGTERM do.

    Raises:
        CheckpointError: the folder's checkpoints are damaged, or belong to another network.
        TrainingError: gradients stay infinite or undefined, or there is no such device.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    run = TrainingRun(network, config, Path(folder), make_fabric(device, config.precision))
    with Interruption(should_stop).on_signals() as interruption:
        if on_progress is not None:
            return run.go(stream, validation, interruption, on_progress)
        with ProgressDisplay(config.steps, run.step) as display:
            return run.go(stream, validation, interruption, display.show)


class TrainingRun:
    """The state of one run: network, average, optimiser, step, and where they are written.

    Args:
        network: see `train`.
        config: see `TrainingConfig`.
        folder: the training folder; a checkpoint in it is loaded.
        fabric: devices and arithmetic, launched.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig, folder: Path, fabric: Fabric) -> None:
        self.config, self.folder, self.fabric = config, folder, fabric
        if config.channels_last:
            network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._plain = network
        self._loss = DiceCrossEntropy(lesion_weight=config.lesion_weight).to(fabric.device)
        trained = cast(nn.Module, torch.compile(network)) if config.compile else network
        self._network, self._optimizer = fabric.setup(trained, make_optimizer(network, config))
        self._average = WeightAverage(network, config.ema_decay) if config.ema_decay else None
        self.step = 0
        self.best_metric: float | None = None
        self.best_step: int | None = None
        self._seconds_before = 0.0
        self._started = time.monotonic()
        self._skipped = 0
        checkpoint = load_newest_checkpoint(folder)
        if checkpoint is not None:
            self._restore(checkpoint)

    def go(
        self,
        stream: BatchStream,
        validation: ValidationStream | None,
        interruption: Interruption,
        on_progress: Callable[[TrainingProgress], None],
    ) -> TrainingResult:
        """Train until the schedule, the time or somebody's patience ends; see `train`."""
        first = self.step
        self._started = self._last_saved = time.monotonic()
        record = TrainingRecord(self.folder, self.step) if self.fabric.is_global_zero else None
        drop_checkpoints_after(self.folder, self.step)
        if self.step == 0:
            self._save(record)
        self._network.train()
        stopped_by: StopReason | None = self._why_stop(interruption)
        while stopped_by is None:
            row = self._advance(stream)
            if validation is not None and self._is_due(self.config.validate_every):
                row |= self._validate(validation)
            if record is not None:
                record.add(row)
            stopped_by = self._why_stop(interruption)
            if stopped_by is not None or self._checkpoint_is_due():
                self._save(record)
            seconds = (time.monotonic() - self._started) / (self.step - first)
            on_progress(
                TrainingProgress(self.step, self.config.steps, row["loss"], seconds, self.best_metric)
            )
        if record is not None:
            record.close()
        return self._result(stopped_by)

    def _advance(self, stream: BatchStream) -> dict[str, float]:
        """One optimiser step; returns its row of the record."""
        config, fabric = self.config, self.fabric
        rate = learning_rate(self.step, config)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        # Dropout depends on the step alone, so no generator state has to be stored.
        torch.manual_seed(_mix(config.seed, self.step, fabric.global_rank))
        total = torch.zeros((), device=fabric.device)
        for part in range(config.accumulate):
            index = (self.step * config.accumulate + part) * fabric.world_size + fabric.global_rank
            batch = stream.batch(index).to(fabric.device)
            image = batch.image
            if config.channels_last:
                image = image.contiguous(memory_format=torch.channels_last_3d)
            with fabric.no_backward_sync(self._network, enabled=part < config.accumulate - 1):
                loss = self._loss(self._network(image), batch.target, batch.partial) / config.accumulate
                fabric.backward(loss)
            total += loss.detach()
        norm = self._update()
        if fabric.world_size > 1:
            total = cast(Tensor, fabric.all_reduce(total, reduce_op="mean"))
        self.step += 1
        if self._average is not None:
            self._average.update(self.step)
        return {"step": self.step, "loss": total.item(), "learning_rate": rate, "gradient_norm": norm}

    def _update(self) -> float:
        """Clip, step, clear the gradients; returns their norm before clipping.

        A step with an infinite or undefined gradient is left out. Under float16 the gradient scaler does so
        itself, and lowers its scale.

        Raises:
            TrainingError: too many such steps in a row.
        """
        norm = self.fabric.clip_gradients(
            self._network,
            self._optimizer,
            max_norm=self.config.clip_norm or float("inf"),
            error_if_nonfinite=False,
        )
        assert norm is not None
        value = norm.item()
        finite = math.isfinite(value)
        if finite or self.config.precision == "16-mixed":
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._skipped = 0 if finite else self._skipped + 1
        if self._skipped >= _MAX_SKIPPED:
            raise TrainingError(
                f"expected finite gradients, but {self._skipped} steps in a row had none, up to step "
                f"{self.step + 1}; lower the learning rate, or train with the precision 32-true"
            )
        return value

    def _validate(self, validation: ValidationStream) -> dict[str, float]:
        """Score the averaged weights; keeps them in `best.pt` if they are the best so far."""
        with self._average.applied() if self._average is not None else nullcontext():
            score = validate(self._plain, validation, self._loss, self.fabric)
        if self.best_metric is None or score.dice_mean > self.best_metric:
            self.best_metric, self.best_step = score.dice_mean, self.step
            if self.fabric.is_global_zero:
                save_checkpoint(self._best_path, replace(self._checkpoint(), optimizer={}, scaler={}))
        return {
            "validation_loss": score.loss,
            "validation_dice_mean": score.dice_mean,
            "validation_dice_median": score.dice_median,
        }

    def _why_stop(self, interruption: Interruption) -> StopReason | None:
        """The reason to stop now, if there is one; the same in all processes."""
        reasons: tuple[tuple[StopReason, bool], ...] = (
            ("schedule", self.step >= self.config.steps),
            ("request", bool(interruption)),
            ("time", self._minutes(self._started) >= (self.config.max_minutes or math.inf)),
        )
        for reason, holds in reasons:
            if self._agree(holds):
                return reason
        return None

    def _checkpoint_is_due(self) -> bool:
        """Whether steps or minutes since the last checkpoint ask for one."""
        late = self._minutes(self._last_saved) >= (self.config.checkpoint_minutes or math.inf)
        return self._agree(late) or self._is_due(self.config.checkpoint_every)

    def _agree(self, holds: bool) -> bool:
        """The first process decides for all, so that clocks and signals cannot part them."""
        return bool(self.fabric.broadcast(holds)) if self.fabric.world_size > 1 else holds

    def _is_due(self, every: int) -> bool:
        """Whether the step is a multiple of `every`, or the last one; never if `every` is 0."""
        return every > 0 and (self.step % every == 0 or self.step == self.config.steps)

    @staticmethod
    def _minutes(since: float) -> float:
        return (time.monotonic() - since) / 60

    def _save(self, record: TrainingRecord | None) -> None:
        """Write a checkpoint; the record first, so that it is never behind."""
        if record is not None:
            record.sync()
            save_checkpoint(checkpoint_path(self.folder, self.step), self._checkpoint())
            prune_checkpoints(self.folder, self.config.keep_last)
        self._last_saved = time.monotonic()

    def _checkpoint(self) -> Checkpoint:
        """The state now."""
        return Checkpoint(
            step=self.step,
            network=self._plain.state_dict(),
            average=self._average.state_dict() if self._average is not None else {},
            optimizer=self._optimizer.state_dict(),
            scaler=self.fabric.strategy.precision.state_dict(),
            best_metric=self.best_metric,
            best_step=self.best_step,
            seconds=self._seconds(),
            config=self.config.model_dump(),
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Go back to a state.

        Raises:
            CheckpointError: it belongs to another network.
        """
        try:
            self._plain.load_state_dict(checkpoint.network)
            self._optimizer.load_state_dict(checkpoint.optimizer)
            if self._average is not None:
                self._average.load_state_dict(checkpoint.average or checkpoint.network)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{self.folder}: expected checkpoints of this recipe's network; train into "
                f"another folder ({error})"
            ) from error
        if checkpoint.scaler:
            self.fabric.strategy.precision.load_state_dict(checkpoint.scaler)
        self.step = checkpoint.step
        self.best_metric, self.best_step = checkpoint.best_metric, checkpoint.best_step
        self._seconds_before = checkpoint.seconds

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    @property
    def _best_path(self) -> Path:
        return self.folder / "best.pt"

    def _result(self, stopped_by: StopReason) -> TrainingResult:
        return TrainingResult(
            steps=self.step,
            finished=self.step >= self.config.steps,
            stopped_by=stopped_by,
            best_metric=self.best_metric,
            best_step=self.best_step,
            seconds=self._seconds(),
            checkpoint=checkpoint_path(self.folder, self.step),
            best_checkpoint=self._best_path if self.best_metric is not None else None,
            metrics=self.folder / "metrics.csv",
        )


def _mix(seed: int, step: int, rank: int) -> int:
    """One generator seed from three numbers, different for neighbouring ones."""
    digest = hashlib.blake2b(f"{seed} {step} {rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
