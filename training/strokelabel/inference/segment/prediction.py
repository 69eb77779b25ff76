"""Scores of each voxel of a scan, and the prediction that options make of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from strokelabel.inference.network_input import BACKGROUND
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.postprocessing import (
    above_threshold,
    faint_surroundings,
    lesion_mask,
    outside_brain,
)
from strokelabel.metrics import lesion_volumes_ml, volume_ml
from strokelabel.metrics.lesion_structures import little_brain_note
from strokelabel.registry import ModelSpec
from strokelabel.types import ChannelVolume, LabelVolume, Mask, Volume


@dataclass(frozen=True, eq=False)
class Prediction:
    """Lesion and tissues of one scan.

    Attributes:
        lesion_mask: (i, j, k) uint8, 1 inside the lesion.
        lesion_probability: (i, j, k) float32, zero where a lesion outside the brain was dropped.
        labels: (i, j, k) uint8, the most likely class of each voxel; 5 exactly where the mask is 1.
        probabilities: (classes, i, j, k) float32, summing to one, as the network gave them; None unless options keep
            them.
        voxel_volume_ml: volume of a voxel of that grid.
        spec: the model.
        options: how it was asked.
        seconds: time that prediction took.
        notes: what a user should know about the scan or the result.
        outside_brain_ml: volume of the lesions that were dropped because they lie outside the brain.
        record: what else the sidecar says about how it was made, as JSON would hold it.
    """

    lesion_mask: LabelVolume
    lesion_probability: Volume
    labels: LabelVolume
    probabilities: ChannelVolume | None
    voxel_volume_ml: float
    spec: ModelSpec
    options: PredictionOptions
    seconds: float
    notes: tuple[str, ...] = ()
    outside_brain_ml: float = 0.0
    record: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def volume_ml(self) -> float:
        """Volume of the lesion mask in ml."""
        return volume_ml(self.lesion_mask, self.voxel_volume_ml)

    @property
    def lesion_count(self) -> int:
        """Number of 26-connected lesions."""
        return len(self.lesion_volumes_ml)

    @cached_property
    def lesion_volumes_ml(self) -> np.ndarray:
        """Volume of each 26-connected lesion in ml."""
        return lesion_volumes_ml(self.lesion_mask, self.voxel_volume_ml)


_LEAST_NOTED_ML = 0.01


@dataclass(frozen=True, eq=False)
class Scores:
    """Enough to decide for any threshold and every other option of a mask without the network.

    Attributes:
        lesion_probability: (i, j, k) float32.
        lesion_is_likeliest: (i, j, k), whether lesion is the most likely class.
        other_labels: (i, j, k), the most likely class but for the lesion.
        probabilities: (classes, i, j, k) float32; None unless they were kept.
        notes: about the scan.
        brain: (i, j, k), see `postprocessing.brain_region`; None where it is not known.
    """

    lesion_probability: Volume
    lesion_is_likeliest: Mask
    other_labels: LabelVolume
    probabilities: ChannelVolume | None = None
    notes: tuple[str, ...] = ()
    brain: Mask | None = None


def gather_scores(
    channels: Iterable[Volume],
    shape: tuple[int, int, int],
    lesion: int,
    keep: int = 0,
    notes: tuple[str, ...] = (),
    brain: Mask | None = None,
) -> Scores:
    """Return the scores from the probabilities of the classes, which come one at a time: not all need be in memory.

    Args:
        channels: (i, j, k) probability of each class, in order.
        shape: of the scan.
        lesion: index of the lesion's class.
        keep: number of classes when their probabilities are to be kept; 0 to keep the lesion's alone.
        notes: about the scan.
        brain: of the scan; see `Scores`.
    """
    kept = np.empty((keep, *shape), np.float32) if keep else None
    best, probability = np.full(shape, -1.0, np.float32), np.zeros(shape, np.float32)
    labels = np.zeros(shape, np.uint8)
    for index, channel in enumerate(channels):
        if kept is not None:
            kept[index] = channel
        if index == lesion:
            probability = channel
            continue
        better = channel > best
        np.copyto(labels, index, where=better)
        np.maximum(best, channel, out=best)
    return Scores(probability, probability > best, labels, kept, notes, brain)


def decide(scores: Scores, voxel_volume_ml: float, spec: ModelSpec, options: PredictionOptions) -> Prediction:
    """Return the mask and labels of a scan.

    Args:
        scores: of the scan.
        voxel_volume_ml: volume of one of its voxels.
        spec: the model that gave the scores.
        options: threshold, smallest size, hole filling and what becomes of lesions outside the brain are used.
    """
    scores, dropped_ml = _within_brain(scores, voxel_volume_ml, options)
    mask = lesion_mask(scores.lesion_probability, scores.lesion_is_likeliest, voxel_volume_ml, options)
    labels = scores.other_labels.copy()
    labels[mask] = spec.class_names.index("lesion")
    return Prediction(
        lesion_mask=mask.astype(np.uint8),
        lesion_probability=scores.lesion_probability,
        labels=labels,
        probabilities=scores.probabilities,
        voxel_volume_ml=voxel_volume_ml,
        spec=spec,
        options=options,
        seconds=0.0,
        notes=scores.notes + _little_brain(labels, voxel_volume_ml, spec) + _dropped(dropped_ml),
        outside_brain_ml=dropped_ml,
    )


def _within_brain(scores: Scores, voxel_ml: float, options: PredictionOptions) -> tuple[Scores, float]:
    """Return the scores in which lesions outside the brain are background, and their volume, ml."""
    if scores.brain is None or options.keep_outside_brain:
        return scores, 0.0
    probability, brain = scores.lesion_probability, scores.brain
    mask = above_threshold(probability, scores.lesion_is_likeliest, options)
    dropped = outside_brain(mask, brain, voxel_ml)
    if not dropped.any():
        return scores, 0.0
    cleared = faint_surroundings(probability, dropped, mask & ~dropped, brain, voxel_ml)
    probability, labels = probability.copy(), scores.other_labels.copy()
    probability[cleared], labels[dropped] = 0, BACKGROUND
    likeliest = scores.lesion_is_likeliest & ~cleared
    confined = replace(
        scores, lesion_probability=probability, lesion_is_likeliest=likeliest, other_labels=labels
    )
    return confined, volume_ml(dropped, voxel_ml)


def _dropped(dropped_ml: float) -> tuple[str, ...]:
    if dropped_ml < _LEAST_NOTED_ML:
        return ()
    return (f"{dropped_ml:.2f} ml that looked like lesion lie outside the brain and were left out",)


def _little_brain(labels: LabelVolume, voxel_volume_ml: float, spec: ModelSpec) -> tuple[str, ...]:
    brain_ml = float(np.count_nonzero(labels)) * voxel_volume_ml
    return () if len(spec.class_names) <= 2 else little_brain_note(brain_ml)
