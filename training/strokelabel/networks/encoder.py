"""Encoders of segmentation networks: their levels by themselves, whatever the architecture."""

from __future__ import annotations

from monai.networks.layers.simplelayers import SkipConnection
from monai.networks.nets import DynUNet, UNet
from torch import nn

from strokelabel.errors import WeightsError
from strokelabel.networks.mdunet import MDUNet
from strokelabel.networks.unet import SubpixelNetwork, VoxelFolding


def encoder_stages(network: nn.Module) -> list[nn.Module]:
    """Return the levels of a network's encoder, finest first; they are the network's own modules, not copies.

    Each takes (batch, channels, x, y, z) from the one before, the first an image (batch, 1, x, y, z).

    Args:
        network: from `networks.unet.build_network`, of any architecture.

    Raises:
        WeightsError: the network has no encoder that we know.
    """
    inner = next((part for part in network.modules() if isinstance(part, DynUNet | UNet | MDUNet)), None)
    if isinstance(inner, MDUNet):
        return list(inner.downsamples)
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
