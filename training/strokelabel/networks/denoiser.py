"""Network that corrects label maps: a denoising autoencoder (Karani et al. 2021, section 3.2).

A U-Net on the shares of the classes. Its output is added to the logarithm of what it is given, so that a network that
says nothing changes nothing, and the copying of what is right need not be learnt.
"""

from __future__ import annotations

from math import prod
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from strokelabel.networks.subpixel import FOLD
from strokelabel.networks.unet import UNetConfig, build_network
from strokelabel.types import LogitsBatch

_FEWEST_LEVELS = 3

_DOUBT = 0.01
"""Added to every share: no class is ruled out by the map that is to be corrected."""


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
        """The network that finds the corrections."""
        return UNetConfig(
            architecture="subpixel",
            in_channels=self.classes,
            out_channels=self.classes,
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
        for values in last.parameters():  # an untrained network has no corrections
            nn.init.zeros_(values)

    def forward(self, maps: LogitsBatch) -> LogitsBatch:
        """Return logits of the corrected classes.

        Args:
            maps: (batch, classes, x, y, z) shares of the classes, summing to one; sides as the configuration asks.
        """
        return torch.log(maps + _DOUBT) + self.unet(maps)
