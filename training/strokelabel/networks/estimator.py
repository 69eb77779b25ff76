"""Network that estimates quantitative maps from one scan (Chalcroft et al. 2025, qATLAS, section 2.1).

A residual U-Net with GELU and linear upsampling. Its four outputs pass through functions whose values are physically
possible: PD = exp(f), R1 = exp(f) / 10, R2* = exp(f) / 10 and MT = 100 sigmoid(f) (the paper leaves out the tenths,
which the public code has; they start the two rates near their values in tissue).
"""

from __future__ import annotations

import math
from typing import Self, cast

import torch
from monai.networks.blocks.convolutions import ResidualUnit
from monai.networks.nets import UNet
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from strokelabel.networks.unet_config import check_levels
from strokelabel.types import ImageBatch, MapsBatch

ESTIMATED_MAPS: tuple[str, ...] = ("pd", "r1", "r2_star", "mt")
"""Output channels of the network, in order, named as in `strokelabel.physics.maps`: an MPRAGE says nothing about R2."""

_LOG_RANGE = (-10.0, 12.0)

_START = torch.tensor([math.log(70.0), math.log(8.0), math.log(200.0), math.log(0.01 / 0.99)])
"""Raw outputs of brain tissue: PD 70 p.u., R1 0.8 / s, R2* 20 / s, MT 1 p.u."""


class EstimatorConfig(BaseModel):
    """Parameters of the estimator, stored with its weights.

    Attributes:
        channels: feature channels of each level, finest first.
        strides: downsampling factor between a level and the next, along every axis.
        num_res_units: convolutions in each residual unit, on both sides.
        dropout: probability of dropping a single feature value while training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[int, ...] = (24, 48, 96, 192, 384)
    strides: tuple[int, ...] = (2, 2, 2, 2)
    num_res_units: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        """Refuse level counts that do not fit together."""
        check_levels(self.channels, self.strides)
        return self

    @property
    def multiple(self) -> int:
        """Number of voxels that the sides of an input must be a multiple of."""
        return math.prod(self.strides)

    @property
    def in_channels(self) -> int:
        """One scan."""
        return 1

    @property
    def out_channels(self) -> int:
        """One per map."""
        return len(ESTIMATED_MAPS)


class Estimator(nn.Module):
    """Network that estimates the four maps from a scan; see `EstimatorConfig`.

    Args:
        config: the network's size.
    """

    def __init__(self, config: EstimatorConfig) -> None:
        super().__init__()
        self.network = _LinearUpsamplingUNet(
            spatial_dims=3,
            in_channels=config.in_channels,
            out_channels=config.out_channels,
            channels=config.channels,
            strides=config.strides,
            num_res_units=config.num_res_units,
            act="GELU",
            norm=("INSTANCE", {"affine": False}),
            dropout=config.dropout,
            adn_ordering="NDA",
        )
        self._start_in_tissue()

    def forward(self, images: ImageBatch) -> MapsBatch:
        """Return the maps of normalised scans.

        Args:
            images: (batch, 1, x, y, z), each side a multiple of `EstimatorConfig.multiple`.

        Returns:
            (batch, 4, x, y, z) float32: PD (p.u.), R1 (1/s), R2* (1/s), MT (p.u.), all positive.
        """
        return activate(self.network(images))

    def _start_in_tissue(self) -> None:
        """Let training start at values of brain tissue: an MT of 50 p.u. would take it long to leave."""
        last = [module for module in self.network.modules() if isinstance(module, nn.Conv3d)][-1]
        if last.bias is not None and not last.bias.is_meta:
            with torch.no_grad():
                last.bias.copy_(_START)


def activate(outputs: MapsBatch) -> MapsBatch:
    """Turn the network's raw outputs (batch, 4, x, y, z) into maps, in float32: exponentials overflow in less."""
    density, rates, transfer = outputs.float().split([1, 2, 1], dim=1)
    # The same bound serves the rates, so that no early step can make them infinite.
    low, high = _LOG_RANGE
    return torch.cat(
        [
            density.clamp(low, high).exp(),
            rates.clamp(low, high).exp() / 10,
            100 * transfer.sigmoid(),
        ],
        dim=1,
    )


def build_estimator(config: EstimatorConfig) -> Estimator:
    """Build an estimator with freshly initialised weights (torch's global generator decides which)."""
    return Estimator(config)


class _LinearUpsamplingUNet(UNet):
    """MONAI's residual U-Net with interpolation instead of transposed convolutions on its way up."""

    def _get_up_layer(self, in_channels: int, out_channels: int, strides: int, is_top: bool) -> nn.Module:
        # A 1 x 1 x 1 convolution and interpolation commute; convolving first is cheaper by the stride cubed.
        return nn.Sequential(
            nn.Conv3d(in_channels, out_channels, kernel_size=1),
            nn.Upsample(scale_factor=strides, mode="trilinear", align_corners=False),
            ResidualUnit(
                self.dimensions,
                out_channels,
                out_channels,
                strides=1,
                kernel_size=cast(int, self.kernel_size),
                subunits=self.num_res_units,
                act=self.act,
                norm=self.norm,
                dropout=self.dropout,
                bias=self.bias,
                last_conv_only=is_top,
                adn_ordering=self.adn_ordering,
            ),
        )
