"""The state of a training run, and the two things that are done with it: step, and score."""

from __future__ import annotations

import hashlib
import math
from contextlib import nullcontext
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from strokelabel.errors import CheckpointError, TrainingError
from strokelabel.fit.checkpoint import Checkpoint
from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.ema import WeightAverage
from strokelabel.fit.objective import Objective, ScoringStream, TrainingStream
from strokelabel.fit.objective_segmentation import SegmentationObjective
from strokelabel.fit.optimizer import make_optimizer
from strokelabel.fit.schedule import learning_rate
from strokelabel.fit.validation import validate

_MAX_SKIPPED = 20
"""Steps in a row without a finite gradient before training is given up."""


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
        best_metric: best metric of the objective in validation, None before the first.
        best_step: the step of it.
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
        self._skipped = 0
        self.step = 0
        self.best_metric: float | None = None
        self.best_step: int | None = None

    def advance(self, stream: TrainingStream[Any]) -> dict[str, float]:
        """Do one optimiser step.

        Returns:
            Its row of the record: step, loss, learning rate, and norm of the gradient before clipping.

        Raises:
            TrainingError: too many steps in a row without a finite gradient.
        """
        rate = learning_rate(self.step, self.config)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        # Dropout depends on the step alone, so no generator state has to be stored.
        torch.manual_seed(_mix(self.config.seed, self.step, self.fabric.global_rank))
        loss = self._accumulate_gradients(stream)
        norm = self._update_weights()
        self.step += 1
        if self._average is not None:
            self._average.update(self.step)
        return {"step": self.step, "loss": loss, "learning_rate": rate, "gradient_norm": norm}

    def score(self, validation: ScoringStream[Any]) -> tuple[dict[str, float], bool]:
        """Validate the averaged weights; returns the scores, and whether they are the best so far."""
        with self._average.applied() if self._average is not None else nullcontext():
            scores = validate(self._network, validation, self.objective, self.fabric)
        metric = scores[self.objective.metric]
        best = self.best_metric is None or metric > self.best_metric
        if best:
            self.best_metric, self.best_step = metric, self.step
        return scores, best

    def to_checkpoint(self, seconds: float) -> Checkpoint:
        """The state now; tensors are shared with the run, not copied.

        Args:
            seconds: training time so far.
        """
        return Checkpoint(
            step=self.step,
            network=self._network.state_dict(),
            average=self._average.state_dict() if self._average is not None else {},
            optimizer=self._optimizer.state_dict(),
            scaler=self.fabric.strategy.precision.state_dict(),
            best_metric=self.best_metric,
            best_step=self.best_step,
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
            self._optimizer.load_state_dict(checkpoint.optimizer)
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
        self.best_metric, self.best_step = checkpoint.best_metric, checkpoint.best_step

    def _accumulate_gradients(self, stream: TrainingStream[Any]) -> float:
        """Forward and backward over the step's batches; returns their mean loss."""
        parts, fabric = self.config.accumulate, self.fabric
        total = torch.zeros((), device=fabric.device)
        for part in range(parts):
            index = (self.step * parts + part) * fabric.world_size + fabric.global_rank
            batch = stream.batch(index).to(fabric.device)
            image = batch.image
            if self.config.channels_last:
                image = image.contiguous(memory_format=torch.channels_last_3d)
            with fabric.no_backward_sync(self._trained, enabled=part < parts - 1):
                loss = self.objective.loss(self._trained(image), batch, self.step) / parts
                fabric.backward(loss)
            total += loss.detach()
        if fabric.world_size > 1:
            total = cast(Tensor, fabric.all_reduce(total, reduce_op="mean"))
        return total.item()

    def _update_weights(self) -> float:
        """Clip, step, clear the gradients; returns their norm before clipping.

        A step with an infinite or undefined gradient is left out. Under float16 the gradient scaler does so
        itself, and lowers its scale.
        """
        limit = self.config.clip_norm or math.inf
        norm = self.fabric.clip_gradients(
            self._trained, self._optimizer, max_norm=limit, error_if_nonfinite=False
        )
        value = cast(Tensor, norm).item()
        finite = math.isfinite(value)
        if finite or self.config.precision == "16-mixed":
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._skipped = 0 if finite else self._skipped + 1
        if self._skipped >= _MAX_SKIPPED:
            raise TrainingError(
                f"Expected finite gradients, but {self._skipped} steps in a row up to step {self.step + 1} had "
                "none; lower the learning rate, or train with the precision 32-true"
            )
        return value


def _mix(seed: int, step: int, rank: int) -> int:
    """One generator seed from three numbers, different for neighbouring ones."""
    digest = hashlib.blake2b(f"{seed} {step} {rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
