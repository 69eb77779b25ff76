"""U-Nets: plain ones, MDUNet, and one on a grid of half the resolution.

There, blocks of 2 × 2 × 2 voxels are folded into channels. It loses nothing and costs nothing, and every convolution
then works on an eighth of the voxels. It is the three-dimensional form of the sub-pixel convolution (Shi et al., CVPR
2016), at both ends of the network.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from monai.networks.nets import DynUNet, UNet
from torch import nn

from strokelabel.networks.mdunet import MDUNet
from strokelabel.networks.unet_config import FOLD, PRESETS, UNetConfig
from strokelabel.types import ChannelBatch

__all__ = [
    "FOLD",
    "PRESETS",
    "SubpixelNetwork",
    "UNetConfig",
    "VoxelFolding",
    "build_network",
    "fold_voxels",
    "unfold_voxels",
]


def fold_voxels(volume: ChannelBatch) -> ChannelBatch:
    """Move blocks of 2 × 2 × 2 voxels into channels.

    Args:
        volume: (batch, channels, x, y, z), sides even.

    Returns:
        (batch, 8 * channels, x / 2, y / 2, z / 2). Of each input channel, the block's voxels follow one another with
        z running fastest.
    """
    batch, channels, x, y, z = volume.shape
    blocks = volume.reshape(batch, channels, x // FOLD, FOLD, y // FOLD, FOLD, z // FOLD, FOLD)
    folded = blocks.permute(0, 1, 3, 5, 7, 2, 4, 6)
    return folded.reshape(batch, channels * FOLD**3, x // FOLD, y // FOLD, z // FOLD)


def unfold_voxels(folded: ChannelBatch) -> ChannelBatch:
    """Undo `fold_voxels`.

    Args:
        folded: (batch, 8 * channels, x, y, z).

    Returns:
        (batch, channels, 2 x, 2 y, 2 z).
    """
    batch, channels, x, y, z = folded.shape
    blocks = folded.reshape(batch, channels // FOLD**3, FOLD, FOLD, FOLD, x, y, z)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(
        batch, channels // FOLD**3, x * FOLD, y * FOLD, z * FOLD
    )


class VoxelFolding(nn.Module):
    """`fold_voxels` as a layer without weights."""

    def forward(self, volume: ChannelBatch) -> ChannelBatch:
        """Fold a volume (batch, channels, x, y, z), sides even."""
        return fold_voxels(volume)


class SubpixelNetwork(nn.Module):
    """A network whose input is folded and whose output is unfolded.

    Args:
        model: maps (batch, 8 * in_channels, x / 2, y / 2, z / 2) to (batch, 8 * out_channels, x / 2, y / 2, z / 2).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, volume: ChannelBatch) -> ChannelBatch:
        """Return the logits (batch, out_channels, x, y, z) of a volume (batch, in_channels, x, y, z), sides even."""
        folded = fold_voxels(volume)
        if folded.device.type == "cpu":
            # The folding leaves channels outermost, where convolutions on CPUs are twice as slow.
            folded = folded.contiguous(memory_format=torch.channels_last_3d)
        return unfold_voxels(self.model(folded))


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
    if config.architecture in ("md", "md-encoder"):
        return _md_network(config)
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


def _md_network(config: UNetConfig) -> nn.Module:
    """Return MDUNet."""
    network = MDUNet(
        config.in_channels,
        config.out_channels,
        config.channels,
        config.strides,
        config.large_kernel,
        config.dropout,
        decoder=config.architecture == "md",
    )
    return nn.Sequential(OrderedDict(model=network))


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
