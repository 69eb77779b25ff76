"""Network that predicts the Dice of a parcellation from scan and parcellation, for quality control as in SynthSeg 2.0.

Strided convolutions see the scan, the groups of structures and where in the head they are; their features are averaged
over the whole volume and over each group, and a small network for each group makes its Dice of them.
"""

from __future__ import annotations

from math import prod
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from strokelabel.networks.denoiser import positions
from strokelabel.structures import QUALITY_GROUPS

_POSITION_VOXELS = 32.0
"""Positions from the middle of the head are given to the network in units of this."""

_NORMALISED_TOGETHER = 8
"""Feature channels that share a mean and a deviation; each by itself would lose how much of it there is."""

_FEW_VOXELS = 1.0
"""Added to the voxels of a group, so that the mean over an absent one is zero."""


class QualityConfig(BaseModel):
    """Parameters of a network that predicts Dice, stored with its weights.

    Attributes:
        groups: outputs; the input has a channel for the scan, one for the background and one for each group.
        channels: feature channels of each level, finest first.
        strides: downsampling factor before each level, along every axis.
        hidden: features between the averages and the Dice of a group.
        dropout: probability of dropping one of these while training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    groups: int = Field(default=len(QUALITY_GROUPS), ge=1)
    channels: tuple[int, ...] = Field(default=(16, 32, 64), min_length=1)
    strides: tuple[int, ...] = Field(default=(2, 2, 2), min_length=1)
    hidden: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        """Refuse level counts that do not fit together."""
        if len(self.strides) != len(self.channels) or min(*self.strides, *self.channels) < 1:
            raise ValueError(f"expected a stride for each of the levels {self.channels}, got {self.strides}")
        return self

    @property
    def multiple(self) -> int:
        """Number of voxels that the sides of an input must be a multiple of."""
        return prod(self.strides)

    @property
    def in_channels(self) -> int:
        """Scan, background and groups."""
        return 2 + self.groups

    @property
    def out_channels(self) -> int:
        """One per group."""
        return self.groups


class QualityNetwork(nn.Module):
    """Convolutional network from a scan with a parcellation to the Dice of its groups.

    Args:
        config: see `QualityConfig`.
    """

    def __init__(self, config: QualityConfig) -> None:
        super().__init__()
        self._strides = config.strides
        widths = [
            config.in_channels + 4,
            *config.channels,
        ]  # with the difference from the group's mean, and positions
        self.levels = nn.ModuleList(
            _Level(*sizes) for sizes in zip(widths, config.channels, config.strides, strict=False)
        )
        features = 2 * sum(config.channels) + 1
        self.head = nn.Sequential(
            nn.Conv1d(config.groups * features, config.groups * config.hidden, 1, groups=config.groups),
            nn.LeakyReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Conv1d(config.groups * config.hidden, config.groups, 1, groups=config.groups),
        )

    def forward(self, shown: Tensor) -> Tensor:
        """Return the Dice (batch, groups) that the groups are expected to have, from 0 to 1.

        Args:
            shown: (batch, 2 + groups, x, y, z): the normalised scan, then the share of the background and of each group
                in a voxel; sides as the configuration asks.
        """
        image, maps = shown[:, :1], shown[:, 1:]
        features = torch.cat(
            [shown, _from_group_mean(image, maps), positions(maps) / _POSITION_VOXELS], dim=1
        )
        averages = [maps[:, 1:].mean(dim=(2, 3, 4)).add(1e-6).log()[..., None]]
        for level, stride in zip(self.levels, self._strides, strict=True):
            features = level(features)
            maps = F.avg_pool3d(maps, stride)
            whole = features.mean(dim=(2, 3, 4))[:, None].expand(-1, maps.shape[1] - 1, -1)
            averages += [_group_means(features, maps)[:, 1:], whole]
        logits = self.head(torch.cat(averages, dim=2).flatten(1)[..., None])[..., 0]
        return torch.sigmoid(logits.float())


class _Level(nn.Module):
    """Downsampling, and a block of two convolutions around which its result goes too."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.down = nn.Conv3d(inputs, outputs, 3, stride, padding=1)
        self.inner = nn.Conv3d(outputs, outputs, 3, padding=1)
        groups = 1 if outputs % _NORMALISED_TOGETHER else outputs // _NORMALISED_TOGETHER
        self.norms = nn.ModuleList(nn.GroupNorm(groups, outputs) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        """Return the features (batch, outputs, x', y', z') of the next level."""
        features = F.leaky_relu(self.norms[0](self.down(features)), 0.1)
        return features + F.leaky_relu(self.norms[1](self.inner(features)), 0.1)


def _group_means(features: Tensor, maps: Tensor) -> Tensor:
    """Return the mean features (batch, classes, channels) over the voxels of each class."""
    sums = torch.einsum("bcxyz,bgxyz->bgc", features, maps)
    return sums / (maps.sum(dim=(2, 3, 4)) + _FEW_VOXELS)[..., None]


def _from_group_mean(image: Tensor, maps: Tensor) -> Tensor:
    """Return the difference (batch, 1, x, y, z) of a scan from the mean of the class of each voxel: a wrong label
    stands out in any contrast.
    """
    expected = torch.einsum("bg,bgxyz->bxyz", _group_means(image, maps)[..., 0], maps)
    return image - expected[:, None]
