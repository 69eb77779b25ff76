"""Learning-rate schedule: a pure function of the step, or of the time, so that resuming needs no scheduler state."""

from __future__ import annotations

import math

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
