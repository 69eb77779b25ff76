"""Choice between a plain and an adapted prediction: a user must not be worse off for having chosen the second.

Without labels, what can be recognised is what goes wrong when an output is only made more certain, or more like an
atlas: a lesion, or the brain, disappears or spreads. The report says what was compared, and what was chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from strokelabel.adaptation.objective import mean_entropy
from strokelabel.inference.segment.predictor import LESION
from strokelabel.metrics.lesions import label_lesions
from strokelabel.registry import ModelSpec

COLLAPSE = 0.25
"""A lesion that is smaller than this fraction of the plain one has collapsed."""

LEAST_ML = 0.05
"""A plain lesion of less, a ball of 2.3 mm radius, may go: as a rule, it was none."""

EXPLOSION = 4.0
EXPLOSION_ML = 5.0
"""A lesion has exploded that is larger than `EXPLOSION` times the plain one, and than this."""

VANISHED = 0.25
"""Largest share of the plain lesions that may vanish: what is left of each of them is less than `_LEFT`."""

_LEFT = 0.1

BRAIN_CHANGE = 2.0
"""A brain that is smaller or larger than the plain one by more than this factor has collapsed or spread."""


@dataclass(frozen=True)
class OutputSummary:
    """Numbers by which two predictions are compared.

    Attributes:
        entropy: mean over the head, nats.
        objective: what the adaptation lowers.
        lesion_ml: volume of the lesion: on the scan's own grid, or in the box that the network is shown.
        brain_ml: volume of all that is not background.
        vanished_ml: volume of the lesions of the plain prediction that are not in this one; see `vanished_ml`.
    """

    entropy: float
    objective: float
    lesion_ml: float
    brain_ml: float
    vanished_ml: float = 0.0


@dataclass(frozen=True)
class Choice:
    """Prediction that is kept.

    Attributes:
        kept: which.
        reason: why, for users.
    """

    kept: Literal["adapted", "plain"]
    reason: str


def choose(plain: OutputSummary, adapted: OutputSummary, objective: str, iterations: int) -> Choice:
    """Choose the adapted prediction unless something speaks against it.

    Args:
        plain: before the adaptation.
        adapted: after it.
        objective: name of what was lowered.
        iterations: that were done.
    """
    against = "no iterations were done" if iterations == 0 else _objection(plain, adapted, objective)
    if against:
        return Choice("plain", against)
    return Choice("adapted", f"the {objective} fell from {plain.objective:.4f} to {adapted.objective:.4f}")


def _objection(plain: OutputSummary, adapted: OutputSummary, objective: str) -> str:
    """Return what speaks against the adapted prediction; "" for nothing."""
    if adapted.objective >= plain.objective:
        return f"the {objective} did not fall ({plain.objective:.4f} to {adapted.objective:.4f})"
    return spoiled(plain, adapted)


def spoiled(plain: OutputSummary, adapted: OutputSummary) -> str:
    """Return what collapsed or spread in the adapted output, for users; "" for nothing."""
    if not (math.isfinite(adapted.objective) and math.isfinite(adapted.entropy)):
        return "the adapted output is not finite"
    volumes = f"{plain.lesion_ml:.2f} to {adapted.lesion_ml:.2f} ml"
    if plain.lesion_ml >= LEAST_ML and adapted.lesion_ml < COLLAPSE * plain.lesion_ml:
        return f"the lesion collapsed ({volumes})"
    if adapted.vanished_ml > max(VANISHED * plain.lesion_ml, LEAST_ML):
        return f"lesions vanished ({adapted.vanished_ml:.2f} of {plain.lesion_ml:.2f} ml)"
    if adapted.lesion_ml > max(EXPLOSION * plain.lesion_ml, EXPLOSION_ML):
        return f"the lesion exploded ({volumes})"
    brains = f"{plain.brain_ml:.0f} to {adapted.brain_ml:.0f} ml"
    if adapted.brain_ml * BRAIN_CHANGE < plain.brain_ml:
        return f"the brain collapsed ({brains})"
    return f"the brain spread ({brains})" if adapted.brain_ml > BRAIN_CHANGE * plain.brain_ml else ""


def vanished_ml(plain: np.ndarray, adapted: np.ndarray, voxel_volume_ml: float) -> float:
    """Return the volume in ml of the 26-connected lesions of one mask of which less than a tenth is in another.

    A smaller lesion may be right, but one that was found and is gone altogether is the usual error of a model that is
    made more certain, and the volume does not show it where another grows.

    Args:
        plain: (i, j, k) mask.
        adapted: (i, j, k) mask.
        voxel_volume_ml: of a voxel.
    """
    lesions, count = label_lesions(plain)
    sizes = np.bincount(lesions.ravel(), minlength=count + 1)[1:]
    left = np.bincount(lesions[adapted.astype(bool)], minlength=count + 1)[1:]
    return float(sizes[left < _LEFT * sizes].sum()) * voxel_volume_ml


def summarise(
    probabilities: Tensor,
    head: Tensor,
    spec: ModelSpec,
    objective: float | None = None,
    lesion_ml: float | None = None,
) -> OutputSummary:
    """Return what is compared of an output.

    Args:
        probabilities: (classes, x, y, z) in the shown box.
        head: (x, y, z) bool.
        spec: the model.
        objective: what the adaptation lowers; None for the entropy.
        lesion_ml: volume of the lesion on the scan's own grid; None for that in the box.
    """
    entropy = float(mean_entropy(probabilities, head))
    voxel_ml = spec.spacing_mm**3 / 1000
    labels = probabilities.argmax(dim=0)
    lesion = spec.class_names.index(LESION)
    return OutputSummary(
        entropy=entropy,
        objective=entropy if objective is None else objective,
        lesion_ml=float((labels == lesion).sum()) * voxel_ml if lesion_ml is None else lesion_ml,
        brain_ml=float((labels > 0).sum()) * voxel_ml,
    )


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
            "vanished_ml": after.vanished_ml,
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
