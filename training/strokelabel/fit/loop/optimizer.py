"""The optimiser of a run, its learning-rate schedule, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW, Optimizer

from strokelabel.fit.config import TrainingConfig


def finished_share(step: int, seconds: float, config: TrainingConfig) -> float:
    """Return the share of the schedule that is done, from 0 to 1.

    Args:
        step: optimiser steps already done.
        seconds: training time so far, earlier runs included; it counts where `config.schedule_minutes` is set.
        config: see `TrainingConfig`.
    """
    by_steps = step / config.steps
    if config.schedule_minutes is None:
        return min(1.0, by_steps)
    return min(1.0, max(by_steps, seconds / (60 * config.schedule_minutes)))


def learning_rate(step: int, config: TrainingConfig, seconds: float = 0.0) -> float:
    """Return the rate for the update that follows `step` finished ones.

    The schedule's share of the highest rate, after an optional linear rise. The rise multiplies the share, so that the
    two meet without a jump.

    Args:
        step: optimiser steps already done, from 0 to `config.steps`.
        config: see `TrainingConfig`.
        seconds: training time so far, for a schedule of minutes.

    Returns:
        Learning rate, at least 0.
    """
    done = finished_share(step, seconds, config)
    rate = config.learning_rate * (
        _cosine(done, config) if config.schedule == "cosine" else _polynomial(done, config)
    )
    if step < config.warmup_steps:
        rate *= (step + 1) / (config.warmup_steps + 1)
    return rate


def _polynomial(done: float, config: TrainingConfig) -> float:
    """Return the polynomial decay to zero: (1 - step / steps) ** power."""
    return float((1.0 - done) ** config.decay_power)


def _cosine(done: float, config: TrainingConfig) -> float:
    """Return one at first, then half a cosine, down to the floor."""
    falling = (done - config.constant_fraction) / (1 - config.constant_fraction)
    half_cosine = 0.5 * (1 + math.cos(math.pi * min(max(falling, 0.0), 1.0)))
    return max(config.final_fraction, half_cosine)


def make_optimizer(network: nn.Module, config: TrainingConfig) -> AdamW:
    """Return AdamW; weight decay for kernels, none for biases and activation slopes, which have one axis.

    The fused form costs a third of the plain one, and decides on the device itself whether to skip a step.
    """
    parameters = [value for value in network.parameters() if value.requires_grad]
    groups = [
        {"params": [value for value in parameters if value.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [value for value in parameters if value.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=config.learning_rate, fused=True)


def load_optimizer_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Take over the state of a checkpoint, one of the plain form of AdamW included.

    Raises:
        ValueError, KeyError: it is of other parameters.
    """
    groups = [{**group, "fused": True, "foreach": None} for group in state["param_groups"]]
    optimizer.load_state_dict({**state, "param_groups": groups})


def update_weights(
    optimizer: Optimizer,
    fabric: Fabric,
    clip_norm: float,
    largest_norm: float = 0.0,
    *,
    keep_buffers: bool = False,
) -> Tensor:
    """Clip the gradients, step, and clear them, without waiting for a GPU.

    A step with an infinite, undefined or too large gradient is left out; under float16 the gradient scaler judges
    alone, and then lowers its scale.

    Args:
        optimizer: as made here, and as wrapped by Fabric.
        fabric: its precision may have a gradient scaler.
        clip_norm: highest L2 norm of all gradients together; 0 for any.
        keep_buffers: fill the gradients with zeros where they lie, rather than giving their memory back.
        largest_norm: the step is left out where their norm before clipping is larger; 0 for no limit.

    Returns:
        Their norm before clipping; scalar; see `is_sound`.
    """
    fused: Any = getattr(optimizer, "optimizer", optimizer)
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    if scaler is not None:
        scaler.unscale_(fused)
    parameters = [value for group in fused.param_groups for value in group["params"]]
    norm = cast(Tensor, clip_grad_norm_(parameters, clip_norm or math.inf, error_if_nonfinite=False))
    if scaler is None:  # otherwise the scaler tells the optimiser by the same two attributes
        sound = norm <= (largest_norm or math.inf)
        fused.grad_scale, fused.found_inf = None, (~(sound & norm.isfinite())).float()
    optimizer.step()
    optimizer.zero_grad(set_to_none=not keep_buffers)
    return norm.detach()


def is_sound(norm: float, largest_norm: float) -> bool:
    """Tell whether a step with this gradient norm was taken: it is finite, and within the limit (0 for none)."""
    return math.isfinite(norm) and norm <= (largest_norm or math.inf)


class WeightAverage:
    """Moving average of every parameter, kept beside the network on the same device.

    The decay starts low, min(decay, (1 + step) / (10 + step)), so that the average forgets the random
    initial weights quickly. A decay of 0 makes the average equal the weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = dict(network.named_parameters())
        self._average = {name: value.detach().clone() for name, value in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights as they are after `step` finished steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = list(self._parameters.values())
        torch._foreach_lerp_(list(self._average.values()), [w.detach() for w in weights], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the network the averaged weights within the block; afterwards its own again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged parameters by name."""
        return self._average

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over averaged parameters, names and shapes as in the network.

        Raises:
            RuntimeError: names or shapes differ.
        """
        if state.keys() != self._average.keys():
            raise RuntimeError(f"averaged weights differ: {sorted(state.keys() ^ self._average.keys())}")
        for name, value in self._average.items():
            value.copy_(state[name])

    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self._average[name] = self._average[name], parameter.data
