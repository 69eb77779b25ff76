"""Surface coils: signal rises towards the surface of the head, unevenly. No bias field of few nodes looks like that."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.synthesis.config_sections import CoilConfig
from strokelabel.synthesis.fields import evaluate_fields
from strokelabel.synthesis.lesions.coarse_fields import CoarseGrid
from strokelabel.synthesis.sampling import Sampler, column

_GRID_MM = 6.0
_VISIBLE = 0.04
"""Share of the greatest signal from which on there is something."""
_LEAST_GAIN = 0.2
_FWHM_TO_SIGMA = 1 / 2.3548


@dataclass(frozen=True)
class CoilParameters:
    """One draw.

    Attributes:
        strength: gain of a point with nothing but air around, minus one; a flat surface has half of it. 0 for none.
        depth_mm: FWHM of the neighbourhood whose share of air says how near the surface is.
        modulation: (1, 3, 3, 3) node values of a field that is clipped to [0, 1] and multiplies the gain.
    """

    strength: float
    depth_mm: float
    modulation: Tensor


NO_COIL = CoilParameters(0.0, 1.0, torch.zeros(1, 3, 3, 3))
"""Coil with the same signal at any depth."""


def sample_coil(sampler: Sampler, config: CoilConfig) -> CoilParameters:
    """Draw the coil of one scan."""
    present = sampler.flip(config.probability)
    sign = -0.5 if sampler.flip(config.inverted_probability) else 1.0
    drawn = CoilParameters(
        strength=sign * sampler.uniform(config.strength),
        depth_mm=sampler.uniform(config.depth_mm),
        modulation=0.5 + 0.6 * torch.randn((1, 3, 3, 3), generator=sampler.generator),
    )
    return drawn if present else NO_COIL


def apply_coil(images: Tensor, mask: Tensor, parameters: list[CoilParameters], spacing_mm: float) -> Tensor:
    """Multiply by the sensitivity of the coils.

    Args:
        images: (batch, 1, x, y, z), not negative.
        mask: (batch, 1, x, y, z) of 0 and 1: what is shown of them; its border counts as surface.
        parameters: one draw per item.
        spacing_mm: voxel size.

    Returns:
        (batch, 1, x, y, z); the argument itself where no item has such a coil.
    """
    if not any(p.strength for p in parameters):
        return images
    x, y, z = images.shape[2:]
    grid = CoarseGrid((x, y, z), spacing_mm, images.device, coarse_mm=_GRID_MM)
    seen = images * mask
    head = (seen > _VISIBLE * seen.amax(dim=(1, 2, 3, 4), keepdim=True)).float()
    share = grid.blur(grid.down(head), [p.depth_mm * _FWHM_TO_SIGMA for p in parameters])
    uneven = evaluate_fields([p.modulation for p in parameters], grid.shape, images.device).clamp_(0, 1)
    gain = 1 + column([p.strength for p in parameters], images.device) * (1 - share) * uneven
    return images * grid.up(gain.clamp_min_(_LEAST_GAIN))
