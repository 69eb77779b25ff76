"""Segmentation as an objective: tissue classes with a lesion, or parcels without one."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.segmentation.losses import DiceCrossEntropy, foreground_dice, logit_distance, mask_dice
from strokelabel.labels import TissueClass


class SegmentationObjective:
    """Soft Dice plus cross-entropy, after an optional warm-up on the logits themselves.

    With a lesion class, validation reports the lesion's Dice; without one, the mean Dice over the foreground classes
    of each image.

    Args:
        classes: number of output channels, background (0) included.
        lesion: index of the lesion class; None if there is none, and then no item may be partially labelled.
        lesion_weight: weight of the lesion class in the loss, relative to the others.
        l2_warmup_steps: optimiser steps at the start that pull the logits of foreground voxels to ±5 instead
            (Billot et al. 2023; Chalcroft et al. 2025, section 3.3).
    """

    score_names: tuple[str, ...] = ("loss", "dice_mean", "dice_median")
    metric = "dice_mean"

    def __init__(
        self,
        classes: int = len(TissueClass),
        lesion: int | None = TissueClass.LESION,
        *,
        lesion_weight: float = 1.0,
        l2_warmup_steps: int = 0,
    ) -> None:
        self.classes = classes
        self.lesion = None if lesion is None else int(lesion)
        self.l2_warmup_steps = l2_warmup_steps
        self._loss = DiceCrossEntropy(classes, self.lesion, lesion_weight)

    @classmethod
    def from_config(
        cls,
        config: TrainingConfig,
        classes: int = len(TissueClass),
        lesion: int | None = TissueClass.LESION,
    ) -> Self:
        """Return the objective of a recipe's training settings."""
        return cls(
            classes, lesion, lesion_weight=config.lesion_weight, l2_warmup_steps=config.l2_warmup_steps
        )

    @property
    def metric_label(self) -> str:
        """Metric that chooses the best checkpoint."""
        return "mean Dice" if self.lesion is None else "lesion Dice"

    def to(self, device: torch.device) -> Self:
        """Move the objective with its class weights to a device."""
        self._loss.to(device)
        return self

    def loss(self, output: Tensor, batch: Batch, step: int) -> Tensor:
        """Return the mean loss of the items times the batch's weight.

        The warm-up's in the first `l2_warmup_steps` steps, then Dice plus cross-entropy.
        """
        if step < self.l2_warmup_steps:
            return batch.weight * logit_distance(output, batch.target).mean()
        return batch.weight * self._loss(output, batch.target, batch.partial)

    def loss_phase(self, step: int) -> int:
        """Return 0 during the warm-up, 1 after it."""
        return int(step >= self.l2_warmup_steps)

    def item_scores(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the loss (never the warm-up's) and Dice of each item."""
        predicted = output.argmax(dim=1)
        if self.lesion is None:
            dice = foreground_dice(predicted, batch.target, self.classes)
        else:
            dice = mask_dice(predicted == self.lesion, batch.target == self.lesion)
        return {"loss": self._loss.per_item(output, batch.target, batch.partial), "dice": dice}

    def summarize(self, scores: dict[str, Tensor]) -> dict[str, float]:
        """Return the mean loss, and mean and median Dice of the items."""
        loss, dice = scores["loss"], scores["dice"]
        return {
            "loss": loss.mean().item(),
            "dice_mean": dice.mean().item(),
            "dice_median": dice.quantile(0.5).item(),
        }
