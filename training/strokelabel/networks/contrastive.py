"""Network of self-supervised pre-training: the encoder of a U-Net, a projector, and a reconstructor.

Chalcroft et al. 2025 (arXiv:2501.12057) have global averages of the coarsest features projected by a small perceptron,
and an image made of the same features by transposed convolutions alone, without the finer levels' help. Here the
averages are first normalised over the batch: after the encoder's own normalisation they differ so little between heads
that the contrastive loss stayed at chance for the 25 steps that were tried.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from strokelabel.networks.encoder import encoder_stages
from strokelabel.networks.mdunet import BatchNorm
from strokelabel.networks.unet import FOLD, UNetConfig, build_network, unfold_voxels
from strokelabel.types import ImageBatch

_NOT_OF_THE_ENCODER = frozenset({"out_channels", "dropout"})
"""Settings of a U-Net that change none of its encoder's weights."""


class ContrastiveConfig(UNetConfig):
    """Parameters of the network, stored with its weights: those of the U-Net whose encoder is trained, and these.

    Attributes:
        out_channels: of the reconstruction, always 1.
        cells: parts along each axis that the coarsest features are averaged over; 1 for the whole volume (the paper).
        hidden: features between the averages and the projection.
        projection: length of the projection.
    """

    out_channels: int = Field(default=1, ge=1, le=1)
    cells: int = Field(default=1, ge=1)
    hidden: int = Field(default=512, ge=1)
    projection: int = Field(default=128, ge=2)

    def unet(self) -> UNetConfig:
        """Return the settings of the U-Net."""
        return UNetConfig.model_validate(
            self.model_dump(include=set(UNetConfig.model_fields) - {"out_channels"})
        )


def encoder_settings(config: UNetConfig) -> dict[str, object]:
    """Return the settings of a U-Net that two networks must share for one to take over the other's encoder."""
    return config.model_dump(include=set(UNetConfig.model_fields) - _NOT_OF_THE_ENCODER)


class Representation(NamedTuple):
    """Outputs of the network.

    Attributes:
        projection: (batch, projection), not normalised.
        reconstruction: (batch, 1, x, y, z).
    """

    projection: Tensor
    reconstruction: Tensor


class ContrastiveNetwork(nn.Module):
    """Encoder with two heads.

    Args:
        config: see `ContrastiveConfig`.
    """

    def __init__(self, config: ContrastiveConfig) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(encoder_stages(build_network(config.unet())))
        self._cells = config.cells
        averages = config.channels[-1] * config.cells**3
        self.projector = nn.Sequential(
            BatchNorm(averages),
            nn.Flatten(),
            nn.Linear(averages, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.projection),
        )
        self.reconstructor = _reconstructor(config)

    def forward(self, images: ImageBatch) -> Representation:
        """Return the representation of z-scored images (batch, 1, x, y, z)."""
        features = self.coarsest_features(images)
        projection = self.projector(self._averages(features)[..., None, None, None])
        return Representation(projection, self.reconstructor(features))

    def coarsest_features(self, images: ImageBatch) -> Tensor:
        """Return the features (batch, channels, x', y', z') of the last level."""
        features: Tensor = images
        for stage in self.encoder:
            features = stage(features)
        return features

    def averages(self, images: ImageBatch) -> Tensor:
        """Return the averages (batch, channels * cells³) that the projector is given."""
        return self._averages(self.coarsest_features(images))

    def _averages(self, features: Tensor) -> Tensor:
        return F.adaptive_avg_pool3d(features, self._cells).flatten(1)


def _reconstructor(config: ContrastiveConfig) -> nn.Sequential:
    """Return transposed convolutions from the coarsest level to the image's grid, with a last one of 1³."""
    first, *others = _factors(config)
    layers: list[nn.Module] = []
    for (fine, coarse), factor in reversed(list(zip(pairwise(config.channels), others, strict=True))):
        layers += [
            nn.ConvTranspose3d(coarse, fine, factor, factor),
            nn.InstanceNorm3d(fine, affine=True),
            nn.GELU(),
        ]
    finest = config.channels[0]
    if config.architecture == "subpixel":
        return nn.Sequential(*layers, nn.Conv3d(finest, FOLD**3, 1), _VoxelUnfolding())
    if first > 1:
        layers += [nn.ConvTranspose3d(finest, finest, first, first), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv3d(finest, 1, 1))


def _factors(config: UNetConfig) -> list[int]:
    """Return how much coarser the grid of each level of the encoder is than that of what it is given.

    Of the sub-pixel network, the first level is given folded voxels.
    """
    return [*config.strides, 1] if config.architecture == "residual" else [1, *config.strides]


class _VoxelUnfolding(nn.Module):
    """`unfold_voxels` as a layer without weights."""

    def forward(self, folded: Tensor) -> Tensor:
        """Unfold a volume (batch, 8 * channels, x, y, z)."""
        return unfold_voxels(folded)
