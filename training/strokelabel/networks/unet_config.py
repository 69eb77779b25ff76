"""Parameters of the U-Nets, which lie with the weights; read without torch."""

from __future__ import annotations

from math import prod
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from strokelabel.errors import WeightsError
from strokelabel.registry import ModelSpec

FOLD = 2
"""Voxels along each axis that become channels of one voxel."""


def check_levels(channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
    """Refuse channels and strides of a U-Net's levels that do not fit together.

    Raises:
        ValueError: saying what was expected.
    """
    if len(channels) < 2 or len(strides) != len(channels) - 1:
        raise ValueError(
            f"expected one stride fewer than channels and at least two channels, got channels {channels} and "
            f"strides {strides}"
        )
    if min(channels) < 1 or min(strides) < 1:
        raise ValueError(f"channels and strides must be positive, got {channels} and {strides}")


class LargeKernelConfig(BaseModel):
    """Parameters of the large-kernel blocks.

    Attributes:
        units: blocks in each level; the last but one has twice as many.
        kernel: of the first depthwise convolution, in voxels.
        dilated_kernel: of the second one, in voxels.
        dilation: of the second one.
        mlp_ratio: channels within the block's perceptron, as a multiple of those of its level.
        path_dropout: probability of leaving out a branch of a block while training (stochastic depth).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    units: int = Field(default=1, ge=1)
    kernel: Literal[3, 5, 7] = 5
    dilated_kernel: Literal[3, 5, 7] = 7
    dilation: int = Field(default=3, ge=1)
    mlp_ratio: int = Field(default=4, ge=1)
    path_dropout: float = Field(default=0.1, ge=0, lt=1)

    def units_of(self, levels: int) -> tuple[int, ...]:
        """Return the number of blocks in each level, finest first."""
        return tuple(self.units * (2 if level == levels - 2 else 1) for level in range(levels))


class UNetConfig(BaseModel):
    """Parameters of the network, stored with its weights.

    Attributes:
        architecture: "residual" is the paper's (MONAI's UNet, halving the grid at once); "plain" works at full
            resolution on both sides, two convolutions a level, as nnU-Net does (MONAI's DynUNet), which suits
            coarse voxels; "subpixel" is "plain" on a grid of half the resolution, with blocks of 2 × 2 × 2 voxels
            folded into channels and the logits unfolded, which suits CPUs. "md-encoder" and "md" are MDUNet, with
            large-kernel blocks in the encoder, or on both sides. For all but the first, kernel sizes are 3 and 2, and
            the settings of residual units do not count.
        in_channels: image channels.
        out_channels: classes; 6 for tissues and lesion, 2 for lesion only.
        channels: feature channels of each level, finest first.
        strides: downsampling factor between a level and the next, along every axis.
        kernel_size: convolution kernel, odd, in voxels.
        up_kernel_size: transposed convolution kernel, odd, in voxels.
        num_res_units: convolutions in each residual unit; 0 for plain convolutions.
        dropout: probability of dropping a single feature value (not a whole channel) while training.
        adn_ordering: order of normalisation (N), dropout (D) and activation (A) after a convolution.
        large_kernel: the blocks of MDUNet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["residual", "plain", "subpixel", "md-encoder", "md"] = "residual"
    in_channels: int = Field(default=1, ge=1)
    out_channels: int = Field(default=6, ge=2)
    channels: tuple[int, ...] = (16, 32, 64, 128, 320, 320)
    strides: tuple[int, ...] = (2, 2, 2, 2, 2)
    kernel_size: Literal[1, 3, 5, 7] = 3
    up_kernel_size: Literal[3, 5, 7] = 3
    num_res_units: int = Field(default=1, ge=0)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    adn_ordering: Literal["NDA", "NAD", "DNA", "NA"] = "NDA"
    large_kernel: LargeKernelConfig = LargeKernelConfig()

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        """Refuse level counts that do not fit together."""
        check_levels(self.channels, self.strides)
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


def unet_config(spec: ModelSpec) -> UNetConfig:
    """Return the network of a model that segments or parcellates.

    Raises:
        WeightsError: the description is of another network.
    """
    try:
        return UNetConfig(**spec.network)
    except (ValidationError, TypeError) as error:
        raise WeightsError(f"{spec.path}: it describes an unknown network ({error})") from error
