"""Prediction of the Dice of parcellations: its objective, and streams of images with parcellations of known Dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from strokelabel.errors import RecipeError
from strokelabel.fit.data.synthetic_streams import stream_seed
from strokelabel.fit.segmentation import class_dice
from strokelabel.structures import QUALITY_GROUPS, quality_classes
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.label_noise.segmentation_errors import (
    CLASSES,
    SegmentationErrorConfig,
    SegmentationErrors,
    apply_errors,
    class_maps,
    sample_errors,
)

_VALIDATION_SEED = 70_000
"""First seed of the validation; training seeds are hashed and never this small."""


@dataclass(frozen=True)
class QualityBatch:
    """Images with parcellations.

    Attributes:
        image: (batch, 2 + groups, x, y, z) float32: the normalised image, then the background and each group as maps.
        target: (batch, groups) float32 true Dice; NaN for a group that neither the parcellation nor the truth holds.
    """

    image: Tensor
    target: Tensor

    def to(self, device: torch.device) -> Self:
        """Move the batch to a device."""
        return type(self)(self.image.to(device, non_blocking=True), self.target.to(device, non_blocking=True))


class QualityCases:
    """Maker of images with wrong parcellations, and of their true Dice.

    Args:
        synthesizer: makes the images, and their true parcellations in the structures of SynthSeg.
        errors: of the parcellations.

    Raises:
        RecipeError: the synthesizer labels no structures.
        LabelMapError: its structures belong to no group.
    """

    def __init__(self, synthesizer: Synthesizer, errors: SegmentationErrorConfig) -> None:
        if synthesizer.parcellation is None:
            raise RecipeError("target: expected parcellation for a network that judges parcellations")
        self.synthesizer, self.errors = synthesizer, errors
        self._group_of = torch.tensor(quality_classes(synthesizer.parcellation.structures))

    def sample(self, seed: int) -> SegmentationErrors:
        """Draw the errors of one parcellation; the same seed gives the same errors."""
        config = self.synthesizer.config
        return sample_errors(seed, self.errors, config.shape, config.spacing_mm)

    def truth(self, image_seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return images (batch, 1, x, y, z), and the true class (batch, x, y, z) int64 of each voxel: see
        `strokelabel.structures.quality_classes`.
        """
        made = self.synthesizer.generate(list(image_seeds))
        return made.image.cpu(), self._group_of[made.target.cpu().long()]

    def judged(self, image: Tensor, truth: Tensor, errors: SegmentationErrors) -> QualityBatch:
        """Return one image (1, x, y, z) with a parcellation that has these errors, as a batch of one."""
        given = apply_errors(truth, errors, self.synthesizer.config.spacing_mm)
        shown = torch.cat([image, class_maps(given)])
        return QualityBatch(shown[None], class_dice(given, truth, CLASSES)[None])

    def generate(self, image_seed: int, error_seeds: Sequence[int]) -> QualityBatch:
        """Return one image with several parcellations, as a batch."""
        images, truth = self.truth([image_seed])
        return joined([self.judged(images[0], truth[0], self.sample(seed)) for seed in error_seeds])


def joined(batches: Sequence[QualityBatch]) -> QualityBatch:
    """Return several batches as one."""
    return QualityBatch(torch.cat([one.image for one in batches]), torch.cat([one.target for one in batches]))


class QualityStream:
    """An endless stream of images with wrong parcellations, several of them for each image.

    Args:
        cases: makes them.
        batch_size: parcellations per batch.
        seed: decides every item of the stream.
    """

    def __init__(self, cases: QualityCases, batch_size: int, seed: int) -> None:
        self.cases, self.batch_size, self.seed = cases, batch_size, seed

    def batch(self, step: int) -> QualityBatch:
        """Return the batch of a step; a pure function of the step and the stream's seed."""
        first, variations = step * self.batch_size, self.cases.errors.variations
        items = range(first, first + self.batch_size)
        parts = []
        for number in sorted({item // variations for item in items}):
            own = [stream_seed(self.seed, item) for item in items if item // variations == number]
            parts.append(self.cases.generate(stream_seed(self.seed, number, "image"), own))
        return joined(parts)


class QualityValidation:
    """Images of unseen heads, the same ones every time, one to a batch with several parcellations.

    Args:
        cases: with heads that training does not see.
        count: number of images.
    """

    def __init__(self, cases: QualityCases, count: int) -> None:
        self.cases, self.count = cases, count

    def __len__(self) -> int:
        return self.count

    def batch(self, index: int) -> QualityBatch:
        """Return the parcellations of one image."""
        variations = self.cases.errors.variations
        seeds = range(_VALIDATION_SEED + index * variations, _VALIDATION_SEED + (index + 1) * variations)
        return self.cases.generate(_VALIDATION_SEED + index, seeds)


class QualityObjective:
    """Squared difference of predicted and true Dice; validation reports how they correlate.

    `correlation` is Pearson's, over all groups of all parcellations at once; `absolute_error` the mean absolute
    difference. Groups without a true Dice count for nothing.
    """

    score_names = ("loss", "correlation", "absolute_error")
    metric = "correlation"
    metric_label = "correlation of predicted and true Dice"

    def to(self, device: torch.device) -> Self:
        """Return the objective, which has nothing to move."""
        return self

    def loss(self, output: Tensor, batch: QualityBatch, step: int) -> Tensor:
        """Return the mean loss of the items."""
        return _item_losses(output, batch.target).mean()

    def loss_phase(self, step: int) -> int:
        """Return 0: the loss is the same at every step."""
        return 0

    def item_scores(self, output: Tensor, batch: QualityBatch) -> dict[str, Tensor]:
        """Return the loss of each item, and the predicted and the true Dice of each of its groups."""
        scores = {"loss": _item_losses(output, batch.target)}
        for number, name in enumerate(QUALITY_GROUPS):
            scores |= {
                f"{name} predicted": output[:, number].float(),
                f"{name} true": batch.target[:, number],
            }
        return scores

    def summarize(self, scores: dict[str, Tensor]) -> dict[str, float]:
        """Return the mean loss, the correlation, and the mean absolute error."""
        predicted, true = (
            torch.cat([scores[f"{name} {kind}"] for name in QUALITY_GROUPS]) for kind in ("predicted", "true")
        )
        known = ~true.isnan()
        return {
            "loss": scores["loss"].mean().item(),
            "correlation": correlation(predicted[known], true[known]),
            "absolute_error": (predicted - true)[known].abs().mean().item(),
        }


def _item_losses(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error (batch,) over the groups of each item that have a true Dice; 0 without any."""
    known = ~target.isnan()
    error = (output.float() - target.nan_to_num()).square() * known
    return error.sum(dim=1) / known.sum(dim=1).clamp_min(1)


def correlation(predicted: Tensor, true: Tensor) -> float:
    """Return Pearson's correlation of two (n,) tensors; NaN where one of them is constant."""
    first, second = (values.double() - values.double().mean() for values in (predicted, true))
    return float((first * second).sum() / (first.norm() * second.norm()))
