"""Simulated skull-stripping: everything but the brain set to zero, with the flaws that tools leave."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from strokelabel.synthesis.config import SkullStripConfig
from strokelabel.synthesis.sampling import Sampler


@dataclass(frozen=True)
class SkullStripParameters:
    """One draw: whether to strip, and by how many mm the mask is too large (then too small)."""

    strip: bool
    dilation_mm: float
    erosion_mm: float


def sample_skull_strip(sampler: Sampler, config: SkullStripConfig) -> SkullStripParameters:
    """Draw whether and how badly the skull is stripped."""
    strip = sampler.flip(config.probability)
    dilate, erode = sampler.flip(config.dilation_probability), sampler.flip(config.erosion_probability)
    dilation, erosion = sampler.uniform(config.dilation_mm), sampler.uniform(config.erosion_mm)
    return SkullStripParameters(strip, dilation if dilate else 0.0, erosion if erode else 0.0)


def brain_masks(parameters: list[SkullStripParameters], brain: Tensor, spacing_mm: float) -> Tensor:
    """What is left of each image: 1 inside the (flawed) brain mask, 1 everywhere if the skull stays on.

    Args:
        parameters: one draw per item.
        brain: (batch, 1, x, y, z) fraction of brain, sulci and ventricles closed.
        spacing_mm: voxel size.

    Returns:
        (batch, 1, x, y, z) of 0 and 1, float32.
    """
    masks = [
        _brain_mask(item, p, spacing_mm) if p.strip else torch.ones_like(item)
        for p, item in zip(parameters, brain, strict=True)
    ]
    return torch.stack(masks)


def _brain_mask(brain: Tensor, parameters: SkullStripParameters, spacing_mm: float) -> Tensor:
    """Brain mask, grown and then shrunk by the drawn flaws. (1, x, y, z)."""
    mask = _grow((brain > 0.5).float()[None], parameters.dilation_mm / spacing_mm)
    return 1 - _grow(1 - mask, parameters.erosion_mm / spacing_mm)[0]


def _grow(mask: Tensor, radius: float) -> Tensor:
    """Dilate by about this radius in voxels, rounded to whole steps."""
    steps = round(radius)
    for step in range(steps):
        x = F.max_pool3d(mask, (3, 1, 1), 1, (1, 0, 0))
        y = F.max_pool3d(mask, (1, 3, 1), 1, (0, 1, 0))
        z = F.max_pool3d(mask, (1, 1, 3), 1, (0, 0, 1))
        cross = torch.maximum(torch.maximum(x, y), z)
        # Crosses and boxes in turn approximate a ball.
        mask = cross if step % 2 else F.max_pool3d(mask, 3, 1, 1)
    return mask
