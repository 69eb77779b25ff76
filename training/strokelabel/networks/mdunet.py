"""MDUNet: a U-Net whose levels are transformer blocks made of convolutions alone (Chalcroft et al. 2023).

Attention is a product with what a large kernel gathers (Guo et al. 2023): a depthwise convolution of 5³, a dilated one
of 7³, and one of 1³, which together see 23³ voxels. arXiv:2308.07251. Where the public code loses a voxel at each side
of a level, embeddings are padded here, so that levels fit together.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetOutBlock, UnetUpBlock
from monai.networks.layers import DropPath
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from strokelabel.networks.unet_config import LargeKernelConfig
from strokelabel.types import ChannelBatch

__all__ = ["LargeKernelAttention", "LargeKernelBlock", "LargeKernelConfig", "MDUNet"]

_LAYER_SCALE = 1e-2
"""Weight of each branch of a block at first."""

_EMBEDDING_KERNEL = 3


class LargeKernelAttention(nn.Module):
    """Channel mixing and a product with a large neighbourhood, added to the input.

    Args:
        channels: number of channels.
        config: kernel sizes.
    """

    def __init__(self, channels: int, config: LargeKernelConfig) -> None:
        super().__init__()
        self.before, self.after = nn.Conv3d(channels, channels, 1), nn.Conv3d(channels, channels, 1)
        self.activation = nn.GELU()
        self.near = _depthwise(channels, config.kernel)
        self.far = _depthwise(channels, config.dilated_kernel, config.dilation)
        self.mix = nn.Conv3d(channels, channels, 1)

    def forward(self, features: ChannelBatch) -> ChannelBatch:
        """Return features of the same shape (batch, channels, x, y, z)."""
        values = self.activation(self.before(features))
        gathered = self.mix(self.far(self.near(values)))
        result: Tensor = self.after(values * gathered) + features
        return result


class BatchNorm(nn.BatchNorm3d):
    """Batch normalisation without the count of batches, which no average of weights and no half precision can hold."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.num_batches_tracked = None

    def _load_from_state_dict(self, *args: Any) -> None:  # noqa: ANN401 - as torch declares it
        nn.Module._load_from_state_dict(self, *args)  # torch's own adds the count to states that have none


def _depthwise(channels: int, kernel: int, dilation: int = 1) -> nn.Conv3d:
    padding = dilation * (kernel // 2)
    return nn.Conv3d(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels)


class LargeKernelBlock(nn.Module):
    """Attention and a perceptron with a depthwise convolution, each normalised before, scaled and added.

    Args:
        channels: number of channels.
        config: see `LargeKernelConfig`.
        dropout: probability of dropping a value within the perceptron.
    """

    def __init__(self, channels: int, config: LargeKernelConfig, dropout: float = 0.0) -> None:
        super().__init__()
        inner = channels * config.mlp_ratio
        self.attention = nn.Sequential(BatchNorm(channels), LargeKernelAttention(channels, config))
        self.perceptron = nn.Sequential(
            BatchNorm(channels),
            nn.Conv3d(channels, inner, 1),
            _depthwise(inner, 3),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Conv3d(inner, channels, 1),
            nn.Dropout(dropout),
        )
        self.attention_scale = nn.Parameter(torch.full((channels, 1, 1, 1), _LAYER_SCALE))
        self.perceptron_scale = nn.Parameter(torch.full((channels, 1, 1, 1), _LAYER_SCALE))
        self.path = DropPath(config.path_dropout)

    def forward(self, features: ChannelBatch) -> ChannelBatch:
        """Return features of the same shape (batch, channels, x, y, z)."""
        features = features + self.path(self.attention_scale * self.attention(features))
        return features + self.path(self.perceptron_scale * self.perceptron(features))


class _ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each voxel."""

    def forward(self, features: ChannelBatch) -> ChannelBatch:
        """Return features of the same shape (batch, channels, x, y, z)."""
        return super().forward(features.movedim(1, -1)).movedim(-1, 1)


class LargeKernelStage(nn.Sequential):
    """Level of a U-Net: an overlapping patch embedding, which changes the resolution, and blocks.

    Args:
        in_channels: of the level that it follows.
        channels: of this one.
        stride: how much coarser than the input; finer, if `is_up`.
        units: number of blocks.
        config: of the blocks.
        dropout: see `LargeKernelBlock`.
        is_up: for the way to finer levels.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        units: int,
        config: LargeKernelConfig,
        dropout: float = 0.0,
        *,
        is_up: bool = False,
    ) -> None:
        embedding: nn.Module
        if is_up:
            embedding = nn.ConvTranspose3d(
                in_channels, channels, _EMBEDDING_KERNEL, stride, padding=1, output_padding=stride - 1
            )
        else:
            embedding = nn.Conv3d(in_channels, channels, _EMBEDDING_KERNEL, stride, padding=1)
        blocks = (LargeKernelBlock(channels, config, dropout) for _ in range(units))
        super().__init__(embedding, BatchNorm(channels), *blocks, _ChannelNorm(channels))


_CONVOLUTIONS: dict[str, Any] = {
    "norm_name": ("INSTANCE", {"affine": True}),
    "act_name": ("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
}
"""Normalisation and activation of the levels that are plain convolutions, as in nnU-Net."""


class MDUNet(nn.Module):
    """U-Net with large-kernel blocks in the encoder, or on both sides; the finest encoder level is convolutions.

    Args:
        in_channels: image channels.
        out_channels: classes.
        channels: feature channels of each level, finest first.
        strides: downsampling factor between a level and the next.
        config: of the blocks.
        dropout: probability of dropping a value while training.
        decoder: true for blocks in the decoder, too.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int],
        strides: Sequence[int],
        config: LargeKernelConfig,
        dropout: float = 0.0,
        *,
        decoder: bool = False,
    ) -> None:
        super().__init__()
        units = config.units_of(len(channels))
        pairs = list(pairwise(channels))
        first = UnetBasicBlock(3, in_channels, channels[0], 3, 1, dropout=dropout or None, **_CONVOLUTIONS)
        coarser = (
            LargeKernelStage(finer, here, stride, count, config, dropout)
            for (finer, here), stride, count in zip(pairs, strides, units[1:], strict=True)
        )
        self.downsamples = nn.ModuleList([first, *coarser])
        self.upsamples = nn.ModuleList(
            self._up(
                finer, here, stride, count, config, dropout, decoder=decoder, is_deepest=here_at == len(pairs)
            )
            for here_at, ((finer, here), stride, count) in enumerate(
                zip(pairs, strides, units[1:], strict=True), 1
            )
        )
        self.output_block = UnetOutBlock(3, channels[0] * (2 if decoder else 1), out_channels)
        self._joins = decoder
        self.apply(DynUNet.initialize_weights)

    @staticmethod
    def _up(
        finer: int,
        here: int,
        stride: int,
        units: int,
        config: LargeKernelConfig,
        dropout: float,
        *,
        decoder: bool,
        is_deepest: bool,
    ) -> nn.Module:
        """Return the level that goes from one to the next finer one."""
        if decoder:  # a level hands on its features and those of the encoder beside them
            given = here if is_deepest else 2 * here
            return LargeKernelStage(given, finer, stride, units, config, dropout, is_up=True)
        return UnetUpBlock(3, here, finer, 3, stride, stride, dropout=dropout or None, **_CONVOLUTIONS)

    def forward(self, volume: ChannelBatch) -> ChannelBatch:
        """Return the logits (batch, out_channels, x, y, z) of a volume (batch, in_channels, x, y, z)."""
        skipped: list[Tensor] = []
        features = volume
        for level in self.downsamples:
            features = level(features)
            skipped.append(features)
        skipped.pop()
        for level in reversed(self.upsamples):
            skip = skipped.pop()
            features = torch.cat([level(features), skip], dim=1) if self._joins else level(features, skip)
        logits: Tensor = self.output_block(features)
        return logits
