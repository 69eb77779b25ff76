"""A perceptual loss for volumes: how different two images look to the early layers of a network.

As LPIPS (Zhang et al. 2018), without its learned weights: features of each level are scaled to unit length in every
voxel, and the squared distances are averaged over space and summed over levels.

qATLAS compares features of Med3D, which have to be downloaded. Here the default is the encoder of our own shipped
segmenter (`base`), frozen: it needs no download and is small. Any other network can take its place; see
`FeatureNetwork`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from monai.networks.layers.simplelayers import SkipConnection
from monai.networks.nets import DynUNet, UNet
from torch import Tensor, nn

from strokelabel.errors import WeightsError
from strokelabel.networks.subpixel import SubpixelNetwork, VoxelFolding
from strokelabel.networks.weights import load_weights
from strokelabel.types import PathLike

_LENGTH_FLOOR = 1e-6
"""Features shorter than this are not stretched to unit length."""


class FeatureNetwork(Protocol):
    """Network that computes features of images, at one or several levels."""

    def features(self, images: Tensor) -> Sequence[Tensor]:
        """Return the features of z-scored images (batch, 1, x, y, z): per level (batch, channels, x', y', z')."""
        ...


class SegmenterFeatures(nn.Module):
    """Encoder of a segmentation network, frozen.

    Args:
        network: from `networks.unet.build_network`, of any architecture.

    Raises:
        WeightsError: the network has no encoder that we know.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_encoder_stages(network)).eval().requires_grad_(False)

    @classmethod
    def from_model(cls, model: PathLike = "base") -> SegmenterFeatures:
        """Return the encoder of a registered model, or of a weights file.

        Raises:
            UnknownModelError, WeightsError: no such model, or a damaged file.
        """
        return cls(load_weights(model)[0])

    def features(self, images: Tensor) -> list[Tensor]:
        """Return one tensor per level, finest first; gradients flow back to the images, not into the network."""
        levels = [images]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        return levels[1:]

    def train(self, mode: bool = True) -> SegmenterFeatures:
        """Stay in evaluation mode, whatever the mode of the loss around it."""
        return super().train(False)


def _encoder_stages(network: nn.Module) -> list[nn.Module]:
    """Return the blocks of the encoder, in order."""
    inner = next((module for module in network.modules() if isinstance(module, DynUNet | UNet)), None)
    if isinstance(inner, DynUNet):
        folded = any(isinstance(module, SubpixelNetwork) for module in network.modules())
        first = nn.Sequential(VoxelFolding(), inner.input_block) if folded else inner.input_block
        return [first, *inner.downsamples, inner.bottleneck]
    stages: list[nn.Module] = []
    level = inner.model if inner is not None else None
    while isinstance(level, nn.Sequential) and len(level) == 3 and isinstance(level[1], SkipConnection):
        stages.append(level[0])
        level = level[1].submodule
    if level is None or not stages:
        raise WeightsError(
            f"Expected a segmentation U-Net as feature network, got {type(network).__name__}; "
            "name a model that `strokelabel predict` can use"
        )
    return [*stages, level]


def perceptual_distance(images: Tensor, target: Tensor, network: FeatureNetwork) -> Tensor:
    """Return the mean distance between the features of two batches of images.

    Args:
        images: (batch, 1, x, y, z).
        target: the same shape; its mean and standard deviation normalise both. (Encoders with instance
            normalisation, as ours, see no difference in scale; the other parts of a loss must.)
        network: what to look with.

    Returns:
        Scalar float32: zero where images and target agree.
    """
    mean = target.mean(dim=(1, 2, 3, 4), keepdim=True)
    deviation = target.std(dim=(1, 2, 3, 4), keepdim=True).clamp_min(_LENGTH_FLOOR)
    found = network.features((images - mean) / deviation)
    with torch.no_grad():
        wanted = network.features((target - mean) / deviation)
    levels = [(_unit(a) - _unit(b)).square().sum(dim=1).mean() for a, b in zip(found, wanted, strict=True)]
    return cast(Tensor, torch.stack(levels).sum())


def _unit(features: Tensor) -> Tensor:
    """Return the features of each voxel at length one."""
    return F.normalize(features.float(), dim=1, eps=_LENGTH_FLOOR)
