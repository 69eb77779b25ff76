"""Estimating quantitative maps as an objective of the training loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, cast

import torch
from monai.metrics import SSIMMetric
from torch import Tensor

from strokelabel.fit.estimation.loss import EstimatorLoss, gradient_loss, relative_maps
from strokelabel.types import ImageBatch


@dataclass(frozen=True)
class EstimatorBatch:
    """Scans with the maps that they were simulated from.

    Attributes:
        image: (batch, 1, x, y, z) float32, normalised as for prediction.
        target: (batch, 4, x, y, z) float32, in the order and units of `networks.estimator.ESTIMATED_MAPS`.
    """

    image: ImageBatch
    target: Tensor

    def to(self, device: torch.device) -> Self:
        """Move the batch to a device."""
        return type(self)(self.image.to(device, non_blocking=True), self.target.to(device, non_blocking=True))


class EstimatorObjective:
    """Two-stage loss; validation reports the similarity of estimated and true maps.

    Scores are computed on maps divided by the greatest value of the true map: `loss` is the L1 and L2 loss on values
    and gradients (without the perceptual part, at any step), `nrmse` the root mean squared error, `ssim` the structural
    similarity (Wang et al. 2004, Gaussian window of 11 voxels), each the mean over the four maps and over the items.
    The best checkpoint is the one with the highest `ssim`, as in the public qATLAS code. All voxels count, the air
    around the head included, so that the similarity of any map of a head is high.

    Args:
        loss: see `EstimatorLoss`.
    """

    score_names = ("loss", "ssim", "nrmse")
    metric = "ssim"
    metric_label = "SSIM of the maps"

    def __init__(self, loss: EstimatorLoss) -> None:
        self._loss = loss
        self._similarity = SSIMMetric(spatial_dims=3, data_range=1.0)

    def to(self, device: torch.device) -> Self:
        """Move the objective with its feature network to a device."""
        self._loss.to(device)
        return self

    def loss(self, output: Tensor, batch: EstimatorBatch, step: int) -> Tensor:
        """Return the mean loss of the items; `step` decides the stage."""
        return self._loss(output, batch.target, step)

    def loss_phase(self, step: int) -> int:
        """Return 0 in the first stage, 1 in the second."""
        return int(step >= self._loss.mse_steps)

    def item_scores(self, output: Tensor, batch: EstimatorBatch) -> dict[str, Tensor]:
        """Return the three scores of each item."""
        found, wanted = relative_maps(output.float(), batch.target.float())
        pairs = list(zip(found.split(1), wanted.split(1), strict=True))
        return {
            "loss": torch.stack([gradient_loss(one, other) for one, other in pairs]),
            "ssim": torch.stack([cast(Tensor, self._similarity(one, other)).mean() for one, other in pairs]),
            "nrmse": (found - wanted).square().mean(dim=(2, 3, 4)).sqrt().mean(dim=1),
        }

    def summarize(self, scores: dict[str, Tensor]) -> dict[str, float]:
        """Return the mean of each score over the items."""
        return {name: scores[name].mean().item() for name in self.score_names}
