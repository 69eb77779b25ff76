"""Correction of label maps as an objective of training: the segmentation's loss, and what a correction is worth."""

from __future__ import annotations

import torch
from torch import Tensor

from strokelabel.fit.data.stream import Batch
from strokelabel.fit.segmentation import SegmentationObjective, foreground_dice


class DenoisingObjective(SegmentationObjective):
    """Soft Dice plus cross-entropy; validation compares what the network was given with what it makes of it.

    Of each label map, `dice` is the mean Dice over the foreground classes. `dice_gain` is the mean difference that the
    network makes to the maps with errors, and `dice_loss` what it takes from those without.
    """

    score_names = ("loss", "dice_mean", "dice_gain", "dice_loss")
    metric = "dice_mean"

    @property
    def metric_label(self) -> str:
        """Metric that chooses the best checkpoint."""
        return "mean Dice"

    def item_scores(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of each item, and the Dice of what was given and of what came out."""
        given, found = (
            foreground_dice(maps.argmax(dim=1), batch.target, self.classes) for maps in (batch.image, output)
        )
        loss = self._loss.per_item(output, batch.target, batch.partial)
        return {"loss": loss, "dice": found, "given_dice": given}

    def summarize(self, scores: dict[str, Tensor]) -> dict[str, float]:
        """Return the means over the items; a difference is zero where there are no such items."""
        gain = scores["dice"] - scores["given_dice"]
        correct = scores["given_dice"] >= 1
        return {
            "loss": scores["loss"].mean().item(),
            "dice_mean": scores["dice"].mean().item(),
            "dice_gain": _mean(gain[~correct]),
            "dice_loss": _mean(-gain[correct]),
        }


def _mean(values: Tensor) -> float:
    return values.mean().item() if len(values) else float(torch.zeros(()))
