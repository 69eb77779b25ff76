"""The best validation of a run, and when to give up waiting for a better one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class BestValidation:
    """The best metric so far; higher is better.

    Attributes:
        metric: None before the first validation that gave a number.
        step: the step of it.
        validations_since: validations after the best one.
    """

    metric: float | None = None
    step: int | None = None
    validations_since: int = 0

    def update(self, metric: float, step: int) -> bool:
        """Take note of a validation; true if it is the best so far. An undefined metric (NaN) never is."""
        better = metric == metric if self.metric is None else metric > self.metric
        if better:
            self.metric, self.step, self.validations_since = metric, step, 0
        else:
            self.validations_since += 1
        return better

    def is_exhausted(self, patience: int) -> bool:
        """Whether so many validations in a row were no improvement; never with a patience of 0."""
        return 0 < patience <= self.validations_since
