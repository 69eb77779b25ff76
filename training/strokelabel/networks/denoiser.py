"""Network that corrects label maps: a denoising autoencoder (Karani et al. 2021, section 3.2).

A U-Net on the shares of the classes. It says for each voxel how far it is to be replaced, and by which classes: what
is right is copied, which need not be learnt. An atlas of the classes about the middle of the head, learnt with it, is
what it compares a map with, and goes by where most of a map is wrong.
"""

from __future__ import annotations

from math import prod
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from strokelabel.networks.unet import FOLD, UNetConfig, build_network
from strokelabel.types import LogitsBatch

_FEWEST_LEVELS = 3

_START = -3.0
"""Logit of the share of a voxel that is replaced where the atlas is sure of the class that is given."""

_LEAST_EXPECTED = 0.02
"""Added to the atlas's probability of the class that is given. The odds of a replacement are inverse to it, by Bayes'
rule: what does not belong there is more likely to be wrong."""

_AXES = 3
_ATLAS_STEP = 2
"""Voxels between two nodes of the atlas."""

_ATLAS_GAIN = 10.0
"""Factor of the atlas's weights, whose steps are as small as all others' while their range is that of logits."""

_FLOOR = 1e-4
"""Added to probabilities before their logarithm."""


class DenoiserConfig(BaseModel):
    """Parameters of a denoising autoencoder, stored with its weights.

    Attributes:
        classes: channels of its output, and of the maps in its input.
        images: channels of a scan in its input, after the maps; 0 for maps alone.
        channels: feature channels of each level, finest first; blocks of 2 x 2 x 2 voxels are folded into channels.
        strides: downsampling factor between a level and the next, along every axis.
        dropout: probability of dropping a single feature value while training.
        atlas_voxels: extent of the atlas along x, y and z; beyond, it continues as at its border.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: int = Field(default=6, ge=2)
    images: int = Field(default=0, ge=0)
    channels: tuple[int, ...] = (16, 64, 128)
    strides: tuple[int, ...] = (2, 2)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    atlas_voxels: tuple[int, int, int] = (56, 72, 56)

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
            in_channels=2 * self.classes + self.images,
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
        """One per class, and those of the scan."""
        return self.classes + self.images

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
        # An untrained network leaves the likeliest class of each voxel as it is.
        for values in last.parameters():
            nn.init.zeros_(values)
        x, y, z = (max(2, side // _ATLAS_STEP) for side in config.atlas_voxels)
        self.atlas = nn.Parameter(torch.zeros(1, config.classes, x, y, z))
        self._extent, self._classes = config.atlas_voxels, config.classes

    def forward(self, given: LogitsBatch) -> LogitsBatch:
        """Return logits of the corrected classes.

        Args:
            given: (batch, classes + images, x, y, z) shares of the classes, summing to one, then the normalised scan;
                sides as the configuration asks.
        """
        maps, images = given[:, : self._classes], given[:, self._classes :]
        with torch.autocast(maps.device.type, enabled=False):
            prior = _ATLAS_GAIN * self._atlas_at(positions(maps))
        output = self.unet(torch.cat([maps, torch.softmax(prior, dim=1).to(maps.dtype), images], dim=1))
        with torch.autocast(maps.device.type, enabled=False):
            replaced, classes = output[:, :1].float(), output[:, 1:].float() + prior
            expected = (maps.float() * torch.softmax(prior, dim=1)).sum(dim=1, keepdim=True)
            share = torch.sigmoid(replaced - torch.log(expected + _LEAST_EXPECTED) + _START)
            mixed = torch.lerp(maps.float(), torch.softmax(classes, dim=1), share)
            return torch.log(mixed + _FLOOR)

    def _atlas_at(self, places: Tensor) -> Tensor:
        """Return the atlas (batch, classes, x, y, z) at positions from the middle of the head (batch, 3, x, y, z)."""
        half = (
            torch.tensor(self._extent, dtype=torch.float32, device=places.device).view(1, _AXES, 1, 1, 1) / 2
        )
        grid = (places / half).permute(0, 2, 3, 4, 1).flip(-1)
        atlas = self.atlas.expand(len(places), -1, -1, -1, -1).float()
        return F.grid_sample(atlas, grid, padding_mode="border", align_corners=True)


def positions(maps: Tensor) -> Tensor:
    """Return where each voxel lies from the centre of mass of all that is not background, along x, y and z.

    Args:
        maps: (batch, classes, x, y, z), background first.

    Returns:
        (batch, 3, x, y, z) float32, voxels; the same for a head that is moved within the volume.
    """
    mass = 1 - maps[:, 0].float()
    total = mass.sum(dim=(1, 2, 3)).clamp_min(1.0)
    found = []
    for axis in range(_AXES):
        others = [dim + 1 for dim in range(_AXES) if dim != axis]
        index = torch.arange(mass.shape[axis + 1], dtype=torch.float32, device=maps.device)
        center = (mass.sum(dim=others) * index).sum(dim=1) / total
        shape = [len(index) if dim == axis else 1 for dim in range(_AXES)]
        offset = index[None] - center[:, None]
        found.append(offset.view(len(maps), *shape).expand_as(mass))
    return torch.stack(found, dim=1)


def group_maps(probabilities: Tensor, classes: Tensor, groups: int) -> Tensor:
    """Return the probabilities of groups of classes: sums over the classes of each.

    Args:
        probabilities: (classes, x, y, z).
        classes: (classes,) int64, the group of each class.
        groups: how many there are.

    Returns:
        (groups, x, y, z).
    """
    maps = probabilities.new_zeros((groups, *probabilities.shape[1:]))
    return maps.index_add_(0, classes, probabilities)


def padded_maps(maps: Tensor, multiple: int) -> Tensor:
    """Return maps (batch, classes, x, y, z) with background added at the ends, up to multiples of a number."""
    pads = [-side % multiple for side in maps.shape[2:]]
    if not any(pads):
        return maps
    x, y, z = pads
    padded = F.pad(maps, (0, z, 0, y, 0, x))
    missing = 1 - padded.sum(dim=1, keepdim=True)
    return torch.cat([padded[:, :1] + missing.clamp_min(0), padded[:, 1:]], dim=1)
