"""The objective of fine-tuning: scores on submitted labels and on the synthetic benchmark, kept apart."""

from __future__ import annotations

from torch import Tensor

from strokelabel.fit.activation import Scores
from strokelabel.fit.objective_segmentation import SegmentationObjective
from strokelabel.fit.streams import Batch


class FineTuneObjective(SegmentationObjective):
    """Segmentation, validated on two kinds of images.

    What decides the best checkpoint is the mean of the two Dice scores, so that a handful of submitted scans counts
    as much as a benchmark of many volumes.
    """

    score_names = ("loss", "dice_mean", "dice_submitted", "dice_benchmark")

    def item_scores(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Loss and lesion Dice of each item, and 1 for submitted ones."""
        submitted = batch.partial.to(output.device).float()
        return {**super().item_scores(output, batch), "submitted": submitted}

    def summarize(self, scores: dict[str, Tensor]) -> dict[str, float]:
        """Mean loss, mean Dice of each kind (NaN where there are none of it), and the mean of those."""
        dice, submitted = scores["dice"], scores["submitted"] > 0.5
        kinds = (dice[submitted].mean().item(), dice[~submitted].mean().item())
        known = [value for value in kinds if value == value]
        mean = sum(known) / len(known) if known else float("nan")
        return {
            "loss": scores["loss"].mean().item(),
            "dice_mean": mean,
            "dice_submitted": kinds[0],
            "dice_benchmark": kinds[1],
        }


def as_scores(summary: dict[str, float]) -> Scores:
    """The two Dice scores of a validation."""

    def known(value: float) -> float | None:
        return value if value == value else None

    return Scores(submitted=known(summary["dice_submitted"]), benchmark=known(summary["dice_benchmark"]))
