"""Two-stage loss of the qATLAS estimator (Chalcroft et al. 2025, equation 2).

Maps are compared relative to the greatest value of the target's map, so that PD near 100 and MT near 1 count alike.
Until a given optimiser step the loss is the mean squared error; from then on L1 + L2 on the maps and on their spatial
gradients (Baur et al. 2019), plus a perceptual distance between each map and its target.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strokelabel.fit.estimation.perceptual_loss import FeatureNetwork, perceptual_distance
from strokelabel.types import MapsBatch, Scalar

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
