"""State of a training run, with its two operations: step and score."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from strokelabel.errors import CheckpointError, TrainingError
from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.loop.checkpoint import Checkpoint
from strokelabel.fit.loop.objective import BestValidation, Objective, ScoringStream, TrainingStream, validate
from strokelabel.fit.loop.optimizer import (
    WeightAverage,
    is_sound,
    learning_rate,
    load_optimizer_state,
    make_optimizer,
    update_weights,
)
from strokelabel.fit.loop.passes import Passes
from strokelabel.fit.segmentation import SegmentationObjective

_MAX_SKIPPED = 20
"""Steps in a row that are left out before training is given up."""


class TrainingRun:
    """Network, average, optimiser and step.

    Args:
        network: its weights are where the run starts.
        config: see `TrainingConfig`.
        fabric: devices and arithmetic, launched.
        objective: loss and validation; None for the segmentation of tissues and lesions.

    Attributes:
        step: optimiser steps done.
        objective: as given, on Fabric's device.
        best: the best validation by the objective's metric.
        skipped: steps left out since the run was started or resumed, as far as `check_gradients` has looked.
    """

    def __init__(
        self,
        network: nn.Module,
        config: TrainingConfig,
        fabric: Fabric,
        objective: Objective[Any] | None = None,
    ) -> None:
        self.config, self.fabric = config, fabric
        if config.channels_last:
            network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        trained = cast(nn.Module, torch.compile(network)) if config.compile else network
        self._network = network
        self._trained, self._optimizer = fabric.setup(trained, make_optimizer(network, config))
        self._trained.train()
        self._average = WeightAverage(network, config.ema_decay) if config.ema_decay else None
        chosen: Objective[Any] = objective or SegmentationObjective.from_config(config)
        self.objective = chosen.to(fabric.device)
        self._passes: Passes | None = None
        if config.cuda_graphs:
            if fabric.world_size > 1:
                raise TrainingError(
                    "cuda_graphs: expected one process, got several; leave it out, or use one GPU"
                )
            self._passes = Passes(trained, self.objective, config.precision, config.accumulate)
        self._skipped_in_a_row = 0
        self.skipped = 0
        self.step = 0
        self.best = BestValidation.of(self.objective)

    def advance(self, stream: TrainingStream[Any], seconds: float = 0.0) -> dict[str, float | Tensor]:
        """Do one optimiser step; one whose gradient is not finite, or too large, changes nothing but the step's number.

        Args:
            stream: training batches.
            seconds: training time so far, earlier runs included, for a schedule of minutes.

        Returns:
            Its row of the record: step, loss, learning rate, and norm of the gradient before clipping. What the
            device has computed stays a tensor on it; see `strokelabel.fit.loop.record`.
        """
        rate = learning_rate(self.step, self.config, seconds)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = self._accumulate_gradients(stream)
        norm = update_weights(
            self._optimizer,
            self.fabric,
            self.config.clip_norm,
            self.config.largest_norm,
            keep_buffers=self._passes is not None,
        )
        self.step += 1
        if self._average is not None:
            self._average.update(self.step)
        return {"step": self.step, "loss": loss, "learning_rate": rate, "gradient_norm": norm}

    def check_gradients(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Count the steps that were left out in finished rows, in order.

        Raises:
            TrainingError: too many in a row.
        """
        for row in rows:
            sound = is_sound(row["gradient_norm"], self.config.largest_norm)
            self.skipped += not sound
            self._skipped_in_a_row = 0 if sound else self._skipped_in_a_row + 1
            if self._skipped_in_a_row >= _MAX_SKIPPED:
                raise TrainingError(
                    f"Expected finite gradients{self._limit()}, but {self._skipped_in_a_row} steps in a row up to step "
                    f"{row['step']} had none; lower the learning rate, or train with the precision 32-true"
                )

    def score(self, validation: ScoringStream[Any]) -> tuple[dict[str, float], bool]:
        """Validate the averaged weights; return the scores, and whether they are the best so far."""
        with self._average.applied() if self._average is not None else nullcontext():
            scores = validate(self._network, validation, self.objective, self.fabric)
        return scores, self.best.update(scores[self.objective.metric], self.step)

    def to_checkpoint(self, seconds: float) -> Checkpoint:
        """Return the state now; tensors are shared with the run, not copied.

        Args:
            seconds: training time so far.
        """
        return Checkpoint(
            step=self.step,
            network=self._network.state_dict(),
            average=self._average.state_dict() if self._average is not None else {},
            optimizer=self._optimizer.state_dict(),
            scaler=self.fabric.strategy.precision.state_dict(),
            best_metric=self.best.metric,
            best_step=self.best.step,
            validations_since_best=self.best.validations_since,
            seconds=seconds,
            config=self.config.model_dump(),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go to a checkpoint's state.

        Raises:
            CheckpointError: it belongs to another network.
        """
        try:
            self._network.load_state_dict(checkpoint.network)
            load_optimizer_state(self._optimizer.optimizer, checkpoint.optimizer)
            if self._average is not None:
                self._average.load_state_dict(checkpoint.average or checkpoint.network)
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                "Expected a checkpoint of this recipe's network; train into another folder, or with the recipe "
                f"that the folder was begun with ({error})"
            ) from error
        if checkpoint.scaler:
            self.fabric.strategy.precision.load_state_dict(checkpoint.scaler)
        self.step = checkpoint.step
        self.best = replace(
            self.best,
            metric=checkpoint.best_metric,
            step=checkpoint.best_step,
            validations_since=checkpoint.validations_since_best,
        )

    def _limit(self) -> str:
        return f" up to a norm of {self.config.largest_norm:g}" if self.config.largest_norm else ""

    def _accumulate_gradients(self, stream: TrainingStream[Any]) -> Tensor:
        """Run forward and backward over the step's batches; return their mean loss over all processes."""
        parts, fabric = self.config.accumulate, self.fabric
        total = torch.zeros((), device=fabric.device)
        for part in range(parts):
            index = (self.step * parts + part) * fabric.world_size + fabric.global_rank
            batch = stream.batch(index).to(fabric.device)
            # Dropout depends on the batch alone: no generator state has to be stored, and it is the same whether
            # batches are accumulated or shared out among processes.
            torch.manual_seed(_mix(self.config.seed, index))
            total += self._pass_over(batch, last=part == parts - 1)
        if fabric.world_size > 1:
            total = cast(Tensor, fabric.all_reduce(total, reduce_op="mean"))
        return total

    def _pass_over(self, batch: Any, *, last: bool) -> Tensor:  # noqa: ANN401 - whatever the objective takes
        """Add the gradients of one of the step's batches; return its share of the loss."""
        if self._passes is not None:
            return self._passes(batch, self.step)
        image = batch.image
        if self.config.channels_last:
            image = image.contiguous(memory_format=torch.channels_last_3d)
        with self.fabric.no_backward_sync(self._trained, enabled=not last):
            loss = self.objective.loss(self._trained(image), batch, self.step) / self.config.accumulate
            self.fabric.backward(loss)
        return loss.detach()


def _mix(seed: int, index: int) -> int:
    """Return one generator seed from two numbers, different for neighbouring ones."""
    digest = hashlib.blake2b(f"{seed} {index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
