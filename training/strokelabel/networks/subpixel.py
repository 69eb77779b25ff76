"""A network on a grid of half the resolution: blocks of 2 × 2 × 2 voxels folded into channels, and unfolded again.

The folding loses nothing and costs nothing, and every convolution then works on an eighth of the voxels. It is the
three-dimensional form of the sub-pixel convolution (Shi et al., CVPR 2016), at both ends of the network.
"""

from __future__ import annotations

import torch
from torch import nn

from strokelabel.types import ChannelBatch

FOLD = 2
"""Voxels along each axis that become channels of one voxel."""


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
