"""Network that corrects label maps: a denoising autoencoder (Karani et al. 2021, section 3.2).

A U-Net on the shares of the classes. It says for each voxel how far it is to be replaced, and by which classes: what is
right is copied, which need not be learnt. It also sees where a voxel lies from the middle of the head, since in a map
that is wrong in most places, place is what is left to go by.
"""

from __future__ import annotations

from math import prod
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from strokelabel.networks.unet import FOLD, UNetConfig, build_network
from strokelabel.types import LogitsBatch

_FEWEST_LEVELS = 3

_START = -3.0
"""Logit of the share by which an untrained network replaces a voxel: 5 in 100, by any class."""

_AXES = 3
_POSITION_UNIT_VOXELS = 20.0
"""Positions are divided by this, so that they are about as large as other features."""

_FLOOR = 1e-4
"""Added to probabilities before their logarithm."""


class DenoiserConfig(BaseModel):
    """Parameters of a denoising autoencoder, stored with its weights.

    Attributes:
        classes: channels of its input and its output.
        channels: feature channels of each level, finest first; blocks of 2 x 2 x 2 voxels are folded into channels.
        strides: downsampling factor between a level and the next, along every axis.
        dropout: probability of dropping a single feature value while training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: int = Field(default=6, ge=2)
    channels: tuple[int, ...] = (16, 64, 128)
    strides: tuple[int, ...] = (2, 2)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        """Refuse level counts that do not fit together."""
        if len(self.unet.channels) < _FEWEST_LEVELS:  # the U-Net has rules of its own
            raise ValueError(f"expected at least {_FEWEST_LEVELS} levels of channels, got {self.channels}")
        return self

    @property
    def unet(self) -> UNetConfig:
        """The network that finds what to replace, by one channel, and by which classes, by the others."""
        return UNetConfig(
            architecture="subpixel",
            in_channels=self.classes + _AXES,
            out_channels=self.classes + 1,
            channels=self.channels,
            strides=self.strides,
            dropout=self.dropout,
        )

    @property
    def multiple(self) -> int:
        """Number of voxels that the sides of an input must be a multiple of."""
        return prod(self.strides) * FOLD

    @property
    def in_channels(self) -> int:
        """One per class."""
        return self.classes

    @property
    def out_channels(self) -> int:
        """One per class."""
        return self.classes


class Denoiser(nn.Module):
    """Denoising autoencoder.

    Args:
        config: see `DenoiserConfig`.
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.unet = build_network(config.unet)
        *_, last = (layer for layer in self.unet.modules() if isinstance(layer, nn.Conv3d))
        # An untrained network leaves the likeliest class of each voxel as it is.
        for values in last.parameters():
            nn.init.zeros_(values)

    def forward(self, maps: LogitsBatch) -> LogitsBatch:
        """Return logits of the corrected classes.

        Args:
            maps: (batch, classes, x, y, z) shares of the classes, summing to one; sides as the configuration asks.
        """
        output = self.unet(torch.cat([maps, positions(maps)], dim=1))
        with torch.autocast(maps.device.type, enabled=False):
            replaced, classes = output[:, :1].float(), output[:, 1:].float()
            share = torch.sigmoid(replaced + _START)
            mixed = torch.lerp(maps.float(), torch.softmax(classes, dim=1), share)
            return torch.log(mixed + _FLOOR)


def positions(maps: Tensor) -> Tensor:
    """Return where each voxel lies from the centre of mass of all that is not background, along x, y and z.

    Args:
        maps: (batch, classes, x, y, z), background first.

    Returns:
        (batch, 3, x, y, z), in units of 20 voxels; the same for a head that is moved within the volume.
    """
    mass = 1 - maps[:, 0].float()
    total = mass.sum(dim=(1, 2, 3)).clamp_min(1.0)
    found = []
    for axis in range(_AXES):
        others = [dim + 1 for dim in range(_AXES) if dim != axis]
        index = torch.arange(mass.shape[axis + 1], dtype=torch.float32, device=maps.device)
        center = (mass.sum(dim=others) * index).sum(dim=1) / total
        shape = [len(index) if dim == axis else 1 for dim in range(_AXES)]
        offset = (index[None] - center[:, None]) / _POSITION_UNIT_VOXELS
        found.append(offset.view(len(maps), *shape).expand_as(mass))
    return torch.stack(found, dim=1).to(maps.dtype)
