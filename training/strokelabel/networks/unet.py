"""Segmentation network: a residual U-Net (Chalcroft et al. 2025, section 3.2).

One input channel, strided convolutions all the way down (the first one already halves the grid), instance
normalisation without affine parameters, PReLU, and transposed convolutions back up. The last transposed
convolution carries normalisation and activation on the class channels; one residual convolution without
either then gives the logits.
"""

from __future__ import annotations

from collections import OrderedDict
from math import prod
from typing import Literal, Self

from monai.networks.nets import DynUNet, UNet
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from strokelabel.networks.subpixel import FOLD, SubpixelNetwork


class UNetConfig(BaseModel):
    """Parameters of the network, stored with its weights.

    Attributes:
        architecture: "residual" is the paper's (MONAI's UNet, halving the grid at once); "plain" works at full
            resolution on both sides, two convolutions a level, as nnU-Net does (MONAI's DynUNet), which suits
            coarse voxels; "subpixel" is "plain" on a grid of half the resolution, with blocks of 2 × 2 × 2 voxels
            folded into channels and the logits unfolded, which suits CPUs. For the last two, kernel sizes are 3
            and 2, and the settings of residual units do not count.
        in_channels: image channels.
        out_channels: classes; 6 for tissues and lesion, 2 for lesion only.
        channels: feature channels of each level, finest first.
        strides: downsampling factor between a level and the next, along every axis.
        kernel_size: convolution kernel, odd, in voxels.
        up_kernel_size: transposed convolution kernel, odd, in voxels.
        num_res_units: convolutions in each residual unit; 0 for plain convolutions.
        dropout: probability of dropping a single feature value (not a whole channel) while training.
        adn_ordering: order of normalisation (N), dropout (D) and activation (A) after a convolution.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["residual", "plain", "subpixel"] = "residual"
    in_channels: int = Field(default=1, ge=1)
    out_channels: int = Field(default=6, ge=2)
    channels: tuple[int, ...] = (16, 32, 64, 128, 320, 320)
    strides: tuple[int, ...] = (2, 2, 2, 2, 2)
    kernel_size: Literal[1, 3, 5, 7] = 3
    up_kernel_size: Literal[3, 5, 7] = 3
    num_res_units: int = Field(default=1, ge=0)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    adn_ordering: Literal["NDA", "NAD", "DNA", "NA"] = "NDA"

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        """Refuse level counts that do not fit together."""
        if len(self.channels) < 2 or len(self.strides) != len(self.channels) - 1:
            raise ValueError(
                f"expected one stride fewer than channels and at least two channels, got channels "
                f"{self.channels} and strides {self.strides}"
            )
        if min(self.channels) < 1 or min(self.strides) < 1:
            raise ValueError(f"channels and strides must be positive, got {self.channels} and {self.strides}")
        return self

    @property
    def multiple(self) -> int:
        """Number of voxels that the sides of an input must be a multiple of."""
        return prod(self.strides) * (FOLD if self.architecture == "subpixel" else 1)


PRESETS: dict[str, UNetConfig] = {
    "default": UNetConfig(),
    "synthstroke": UNetConfig(channels=(32, 64, 128, 256, 320, 320), dropout=0.0),
}
"""Named networks: the paper's own size (8.9 M parameters), and the size of the publicly released weights."""


def build_network(config: UNetConfig) -> nn.Module:
    """Build a network with freshly initialised weights (torch's global generator decides which).

    Args:
        config: see `UNetConfig`.

    Returns:
        Module that maps (batch, in_channels, x, y, z) to logits (batch, out_channels, x, y, z), each side a
        multiple of `config.multiple`. The keys of its state dict start with "model.".
    """
    if config.architecture == "plain":
        return _plain_network(config)
    if config.architecture == "subpixel":
        return _subpixel_network(config)
    return UNet(
        spatial_dims=3,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        channels=config.channels,
        strides=config.strides,
        kernel_size=config.kernel_size,
        up_kernel_size=config.up_kernel_size,
        num_res_units=config.num_res_units,
        act="PRELU",
        norm=("INSTANCE", {"affine": False}),
        dropout=config.dropout,
        bias=True,
        adn_ordering=config.adn_ordering,
    )


def _subpixel_network(config: UNetConfig) -> nn.Module:
    """Return the plain network on folded voxels."""
    channels = {"in_channels": config.in_channels * FOLD**3, "out_channels": config.out_channels * FOLD**3}
    return SubpixelNetwork(_plain_network(config.model_copy(update=channels)))


def _plain_network(config: UNetConfig) -> nn.Module:
    """Return an nnU-Net style network: instance norm with affine parameters, leaky ReLU, 1 x 1 x 1 output
    convolution.
    """
    levels = len(config.channels)
    network = DynUNet(
        spatial_dims=3,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        kernel_size=[3] * levels,
        strides=[1, *config.strides],
        upsample_kernel_size=list(config.strides),
        filters=list(config.channels),
        dropout=config.dropout or None,
        norm_name=("INSTANCE", {"affine": True}),
        act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
    )
    # MONAI registers its levels twice, flat and nested. Kept once, a state dict holds each weight once.
    nested = network._modules.pop("skip_layers")
    object.__setattr__(network, "skip_layers", nested)
    return nn.Sequential(OrderedDict(model=network))
