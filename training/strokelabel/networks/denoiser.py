"""Network that corrects label maps: a denoising autoencoder (Karani et al. 2021, section 3.2).

A U-Net on the shares of the classes. It says for each voxel how far it is to be replaced, and by which classes: what is
right is copied, which need not be learnt.
"""

from __future__ import annotations

from math import prod
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from strokelabel.networks.unet import FOLD, UNetConfig, build_network
from strokelabel.types import LogitsBatch

_FEWEST_LEVELS = 3

_START = -3.0
"""Logit of the share by which an untrained network replaces a voxel: 5 in 100, by any class."""

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
    channels: tuple[int, ...] = (32, 64, 128)
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
            in_channels=self.classes,
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
        for (
            values
        ) in last.parameters():  # an untrained network leaves the likeliest class of each voxel as it is
            nn.init.zeros_(values)

    def forward(self, maps: LogitsBatch) -> LogitsBatch:
        """Return logits of the corrected classes.

        Args:
            maps: (batch, classes, x, y, z) shares of the classes, summing to one; sides as the configuration asks.
        """
        output = self.unet(maps)
        with torch.autocast(maps.device.type, enabled=False):
            replaced, classes = output[:, :1].float(), output[:, 1:].float()
            share = torch.sigmoid(replaced + _START)
            mixed = torch.lerp(maps.float(), torch.softmax(classes, dim=1), share)
            return torch.log(mixed + _FLOOR)
