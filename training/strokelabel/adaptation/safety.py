"""Choice between a plain and an adapted prediction: a user must not be worse off for having chosen the second.

Without labels, what can be recognised is what goes wrong when an output is only made more certain, or more like an
atlas: a lesion, or the brain, disappears or spreads. The report says what was compared, and what was chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from strokelabel.adaptation.objective import mean_entropy
from strokelabel.inference.segment.predictor import LESION
from strokelabel.metrics.lesions import label_lesions, volume_ml
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

BRAIN_COLLAPSE, BRAIN_SPREAD = 0.75, 2.0
"""A brain below the first fraction of the plain one has collapsed, one above the second has spread."""


@dataclass(frozen=True)
class OutputSummary:
    """Numbers by which two predictions are compared.

    Attributes:
        entropy: mean over the head, nats.
        objective: what the adaptation lowers.
        lesion_ml: volume of the lesion: on the scan's own grid, or in the box that the network is shown.
        brain_ml: volume of all that is not background.
        vanished_ml: volume of the lesions of the plain prediction that are not in this one; see
            `PlainLesions`.
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


def choose(
    plain: OutputSummary, adapted: OutputSummary, objective: str, iterations: int, ended: str = ""
) -> Choice:
    """Choose the adapted prediction unless something speaks against it.

    Args:
        plain: before the adaptation.
        adapted: after it.
        objective: name of what was lowered.
        iterations: that were done.
        ended: why they ended before all were done.
    """
    against = "no iterations were done" if iterations == 0 else _objection(plain, adapted, objective, ended)
    if against:
        return Choice("plain", against)
    reason = f"the {objective} fell from {plain.objective:.4f} to {adapted.objective:.4f}"
    return Choice("adapted", f"{reason}; after {iterations} iterations, {ended}" if ended else reason)


def _objection(plain: OutputSummary, adapted: OutputSummary, objective: str, ended: str) -> str:
    """Return what speaks against the adapted prediction; "" for nothing."""
    if adapted.objective >= plain.objective:
        return ended or f"the {objective} did not fall ({plain.objective:.4f} to {adapted.objective:.4f})"
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
    if adapted.brain_ml < BRAIN_COLLAPSE * plain.brain_ml:
        return f"the brain collapsed ({brains})"
    return f"the brain spread ({brains})" if adapted.brain_ml > BRAIN_SPREAD * plain.brain_ml else ""


class PlainLesions:
    """The 26-connected lesions of a mask, which are looked for in others.

    A smaller lesion may be right, but one that was found and is gone altogether is the usual error of a model that is
    made more certain, and the volume does not show it where another grows.

    Args:
        mask: (i, j, k).
        voxel_volume_ml: of a voxel.
    """

    def __init__(self, mask: np.ndarray, voxel_volume_ml: float) -> None:
        labels, self._count = label_lesions(mask)
        self._voxels = np.flatnonzero(labels)
        self._labels = labels.reshape(-1)[self._voxels]
        self._sizes = np.bincount(self._labels, minlength=self._count + 1)
        self._voxel_volume_ml = voxel_volume_ml

    def vanished_ml(self, mask: np.ndarray) -> float:
        """Return the volume in ml of the lesions of which less than a tenth is in another mask, (i, j, k)."""
        there = mask.reshape(-1)[self._voxels].astype(bool)
        left = np.bincount(self._labels[there], minlength=self._count + 1)
        return float(self._sizes[left < _LEFT * self._sizes].sum()) * self._voxel_volume_ml


def _outlines(output: Tensor, spec: ModelSpec) -> tuple[Tensor, Tensor]:
    """Return where the lesion, and where anything but background is the largest, both (x, y, z) bool.

    Args:
        output: (classes, x, y, z), probabilities or logits.
        spec: the model.
    """
    lesion = spec.class_names.index(LESION)
    background, *tissues = (channel for index, channel in enumerate(output) if index != lesion)
    brain = reduce(torch.maximum, tissues, output[lesion])
    return output[lesion] > reduce(torch.maximum, tissues, background), brain > background


class OutputWatch:
    """Watch for an adaptation that goes too far, in outputs in the box that the network is shown.

    Args:
        plain: (classes, x, y, z) output without adaptation.
        mask: (x, y, z) lesion of the plain prediction in the box. What else looks like lesion in the plain output was
            left out of the prediction, and may go.
        spec: the model.
    """

    def __init__(self, plain: Tensor, mask: np.ndarray, spec: ModelSpec) -> None:
        self._spec, self._voxel_ml = spec, spec.spacing_mm**3 / 1000
        lesion, brain = _outlines(plain, spec)
        self._left_out = lesion.cpu().numpy() & ~mask.astype(bool)
        self._lesions = PlainLesions(mask, self._voxel_ml)
        self._plain = OutputSummary(0.0, 0.0, volume_ml(mask, self._voxel_ml), self._brain_ml(brain))
        self._is_blind = False
        self._is_blind = bool(self.objection(plain))

    def objection(self, output: Tensor) -> str:
        """Return what collapsed, vanished or spread in an output (classes, x, y, z); "" for nothing.

        Nothing is said at all where the plain output itself differs that much from its prediction, as it may with a
        threshold that is far from what the most likely class gives.
        """
        if self._is_blind:
            return ""
        lesion, brain = _outlines(output, self._spec)
        found = lesion.cpu().numpy() & ~self._left_out
        volume, vanished = volume_ml(found, self._voxel_ml), self._lesions.vanished_ml(found)
        return spoiled(self._plain, OutputSummary(0.0, 0.0, volume, self._brain_ml(brain), vanished))

    def _brain_ml(self, brain: Tensor) -> float:
        return float(brain.sum()) * self._voxel_ml


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
    lesion, brain = _outlines(probabilities, spec)
    return OutputSummary(
        entropy=entropy,
        objective=entropy if objective is None else objective,
        lesion_ml=float(lesion.sum()) * voxel_ml if lesion_ml is None else lesion_ml,
        brain_ml=float(brain.sum()) * voxel_ml,
    )


_DIGITS = 5


@dataclass(frozen=True)
class AdaptationReport:
    """Outcome of an adaptation to one scan.

    Attributes:
        method: "tent" or "dae".
        iterations: of the options.
        iterations_done: fewer where the output was spoiled.
        objective: name of what was lowered.
        plain: summary of the plain prediction.
        adapted: summary of the adapted one.
        choice: which was kept, and why.
        seconds: time that the iterations took.
    """

    method: str
    iterations: int
    iterations_done: int
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
            "iterations_done": self.iterations_done,
            "kept": self.choice.kept,
            "reason": self.choice.reason,
            "objective": self.objective,
            **{name: round(number, _DIGITS) for name, number in numbers.items()},
        }
