"""Objective of an estimator of quantitative maps, with its perceptual loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, cast

import torch
import torch.nn.functional as F
from monai.metrics import SSIMMetric
from torch import Tensor, nn

from strokelabel.networks.encoder import encoder_stages
from strokelabel.networks.weights import load_weights
from strokelabel.types import ImageBatch, MapsBatch, PathLike, Scalar

_SCALE_FLOOR = 1e-3
"""Least value that a map is divided by, in the map's unit; a map of zeros would divide by zero."""


class EstimatorLoss(nn.Module):
    """Mean squared error first, the combined loss later.

    Args:
        mse_steps: optimiser steps with the mean squared error alone (paper: 20,000 of 200,000).
        perceptual_weight: of the perceptual distance (paper: 0.1); 0 leaves it out.
        network: what the perceptual distance looks with; needed unless its weight is 0. Parameters of the loss, if
            the network has any, are frozen.
    """

    def __init__(
        self, mse_steps: int, perceptual_weight: float = 0.1, network: FeatureNetwork | None = None
    ) -> None:
        super().__init__()
        if perceptual_weight > 0 and network is None:
            raise ValueError("expected a feature network for a perceptual weight above 0, got none")
        self.mse_steps = mse_steps
        self.perceptual_weight = perceptual_weight
        self.network = network

    def forward(self, maps: MapsBatch, target: MapsBatch, step: int) -> Scalar:
        """Compute the loss of a batch.

        Args:
            maps: (batch, maps, x, y, z) estimated.
            target: the same shape.
            step: optimiser steps done so far; decides the stage.

        Returns:
            Scalar float32.
        """
        with torch.autocast(maps.device.type, enabled=False):
            found, wanted = relative_maps(maps.float(), target.float())
            if step < self.mse_steps:
                return (found - wanted).square().mean()
            loss = gradient_loss(found, wanted)
            if self.network is not None and self.perceptual_weight > 0:
                loss = loss + self.perceptual_weight * self._perceptual(found, wanted, self.network)
            return loss

    @staticmethod
    def _perceptual(found: Tensor, wanted: Tensor, network: FeatureNetwork) -> Tensor:
        """Return the mean over the maps, each compared by itself."""
        pairs = zip(found.split(1, dim=1), wanted.split(1, dim=1), strict=True)
        return torch.stack([perceptual_distance(one, other, network) for one, other in pairs]).mean()


def relative_maps(maps: MapsBatch, target: MapsBatch) -> tuple[MapsBatch, MapsBatch]:
    """Divide both by the greatest value of each map of the target; (batch, maps, x, y, z)."""
    scale = target.amax(dim=(2, 3, 4), keepdim=True).clamp_min(_SCALE_FLOOR)
    return maps / scale, target / scale


def gradient_loss(maps: MapsBatch, target: MapsBatch) -> Scalar:
    """Return L1 + L2 of the values and of their differences between neighbours along x, y and z.

    Args:
        maps: (batch, maps, x, y, z).
        target: the same shape.

    Returns:
        Scalar: each term is a mean over voxels and maps; those of gradients are means over the three axes, too.
    """
    error = maps - target
    slopes = [error.diff(dim=axis) for axis in (2, 3, 4)]
    loss = error.abs().mean() + error.square().mean()
    for slope in slopes:
        loss = loss + (slope.abs().mean() + slope.square().mean()) / len(slopes)
    return loss


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


_LENGTH_FLOOR = 1e-6
"""Features shorter than this are not stretched to unit length."""


class FeatureNetwork(Protocol):
    """Network that computes features of images, at one or several levels."""

    def features(self, images: Tensor) -> Sequence[Tensor]:
        """Return the features of z-scored images (batch, 1, x, y, z): per level (batch, channels, x', y', z')."""
        ...


class SegmenterFeatures(nn.Module):
    """Encoder of a segmentation network, frozen.

    Args:
        network: from `networks.unet.build_network`, of any architecture.

    Raises:
        WeightsError: the network has no encoder that we know.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleList(encoder_stages(network)).eval().requires_grad_(False)

    @classmethod
    def from_model(cls, model: PathLike = "base") -> SegmenterFeatures:
        """Return the encoder of a registered model, or of a weights file.

        Raises:
            UnknownModelError, WeightsError: no such model, or a damaged file.
        """
        return cls(load_weights(model)[0])

    def features(self, images: Tensor) -> list[Tensor]:
        """Return one tensor per level, finest first; gradients flow back to the images, not into the network."""
        levels = [images]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        return levels[1:]

    def train(self, mode: bool = True) -> SegmenterFeatures:
        """Stay in evaluation mode, whatever the mode of the loss around it."""
        return super().train(False)


def perceptual_distance(images: Tensor, target: Tensor, network: FeatureNetwork) -> Tensor:
    """Return the mean distance between the features of two batches of images.

    Args:
        images: (batch, 1, x, y, z).
        target: the same shape; its mean and standard deviation normalise both. (Encoders with instance
            normalisation, as ours, see no difference in scale; the other parts of a loss must.)
        network: what to look with.

    Returns:
        Scalar float32: zero where images and target agree.
    """
    mean = target.mean(dim=(1, 2, 3, 4), keepdim=True)
    deviation = target.std(dim=(1, 2, 3, 4), keepdim=True).clamp_min(_LENGTH_FLOOR)
    found = network.features((images - mean) / deviation)
    with torch.no_grad():
        wanted = network.features((target - mean) / deviation)
    levels = [(_unit(a) - _unit(b)).square().sum(dim=1).mean() for a, b in zip(found, wanted, strict=True)]
    return cast(Tensor, torch.stack(levels).sum())


def _unit(features: Tensor) -> Tensor:
    """Return the features of each voxel at length one."""
    return F.normalize(features.float(), dim=1, eps=_LENGTH_FLOOR)
