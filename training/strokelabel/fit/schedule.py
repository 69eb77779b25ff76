"""Learning-rate schedule: a pure function of the step, so that resuming needs no scheduler state."""

from __future__ import annotations

import math

from strokelabel.fit.config import TrainingConfig


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Rate for the update that follows `step` finished ones.

    The schedule's share of the highest rate, after an optional linear rise. The rise multiplies the share, so that the
    two meet without a jump.

    Args:
        step: optimiser steps already done, from 0 to `config.steps`.
        config: see `TrainingConfig`.

    Returns:
        Learning rate, at least 0.
    """
    share = _cosine(step, config) if config.schedule == "cosine" else _polynomial(step, config)
    rate = config.learning_rate * share
    if step < config.warmup_steps:
        rate *= (step + 1) / (config.warmup_steps + 1)
    return rate


def _polynomial(step: int, config: TrainingConfig) -> float:
    """Polynomial decay to zero: (1 - step / steps) ** power."""
    return float(max(0.0, 1.0 - step / config.steps) ** config.decay_power)


def _cosine(step: int, config: TrainingConfig) -> float:
    """One at first, then half a cosine, down to the floor."""
    falling = (step / config.steps - config.constant_fraction) / (1 - config.constant_fraction)
    half_cosine = 0.5 * (1 + math.cos(math.pi * min(max(falling, 0.0), 1.0)))
    return max(config.final_fraction, half_cosine)
