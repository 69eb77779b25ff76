"""Report of an adaptation, for the sidecar of its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from strokelabel.adaptation.safety import Choice, OutputSummary

_DIGITS = 5


@dataclass(frozen=True)
class AdaptationReport:
    """Outcome of an adaptation to one scan.

    Attributes:
        method: "tent" or "dae".
        iterations: that were done.
        objective: name of what was lowered.
        plain: summary of the plain prediction.
        adapted: summary of the adapted one.
        choice: which was kept, and why.
        seconds: time that the iterations took.
    """

    method: str
    iterations: int
    objective: str
    plain: OutputSummary
    adapted: OutputSummary
    choice: Choice
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON object; entropies in nats, volumes in ml."""
        before, after = self.plain, self.adapted
        numbers = {
            "entropy_before": before.entropy,
            "entropy_after": after.entropy,
            "objective_before": before.objective,
            "objective_after": after.objective,
            "volume_before_ml": before.lesion_ml,
            "volume_after_ml": after.lesion_ml,
            "brain_before_ml": before.brain_ml,
            "brain_after_ml": after.brain_ml,
            "seconds": self.seconds,
        }
        return {
            "method": self.method,
            "iterations": self.iterations,
            "kept": self.choice.kept,
            "reason": self.choice.reason,
            "objective": self.objective,
            **{name: round(number, _DIGITS) for name, number in numbers.items()},
        }
