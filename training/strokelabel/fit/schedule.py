"""Learning-rate schedule: a pure function of the step, so that resuming needs no scheduler state."""

from __future__ import annotations

from strokelabel.fit.config import TrainingConfig


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Rate for the update that follows `step` finished ones.

    Polynomial decay, rate * (1 - step / steps) ** power, after an optional linear rise. The rise multiplies
    the decay, so that the two meet without a jump.

    Args:
        step: optimiser steps already done, from 0 to `config.steps`.
        config: see `TrainingConfig`.

    Returns:
        Learning rate, at least 0.
    """
    remaining = max(0.0, 1.0 - step / config.steps)
    rate = config.learning_rate * remaining**config.decay_power
    if step < config.warmup_steps:
        rate *= (step + 1) / (config.warmup_steps + 1)
    return rate
