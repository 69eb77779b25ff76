"""Pockets of air, fat and mucosa in the head outside the brain: air cells, sinuses, fat between muscles.

Label maps have one label for all of a face, and many end at the neck. Pockets are the peaks of smooth noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.synthesis.config_sections import PocketConfig
from strokelabel.synthesis.contrast.gaussian_mixture import CT, CT_AIR
from strokelabel.synthesis.fields import CoarseGrid, apply_along_axes, linear_matrix, ramp
from strokelabel.synthesis.sampling import Sampler, voxel_noise

_EDGE = 0.15
"""Standard deviations of the noise over which a pocket's edge runs."""
_HEAD_GRID_MM = 6.0
_HEAD_SIGMA_MM = 4.0
_VISIBLE = 0.05
"""Least difference from air of what counts as head."""


@dataclass(frozen=True)
class Pocket:
    """One kind of pocket.

    Attributes:
        value: intensity.
        spacing_mm: distance of the noise's nodes.
        level: from how many standard deviations on the noise is pocket.
        seed: of the noise.
    """

    value: float
    spacing_mm: float
    level: float
    seed: int


def sample_pockets(sampler: Sampler, config: PocketConfig, family: str) -> tuple[Pocket, ...]:
    """Draw the pockets of one head: none, or two kinds.

    Args:
        sampler: source of randomness.
        config: ranges.
        family: of the contrast.
    """
    if not sampler.flip(config.probability):
        return ()
    air = CT_AIR if family == CT else 0.04 * sampler.uniform((0.0, 1.0))
    return tuple(
        Pocket(
            value=air if sampler.flip(probability) else sampler.uniform(config.mean),
            spacing_mm=sampler.uniform(config.spacing_mm),
            level=sampler.uniform(config.level),
            seed=sampler.seed(),
        )
        for probability in (config.air_probability, 0.0)
    )


def fill_pockets(
    mean: Tensor, brain: Tensor, air: Tensor, parameters: list[tuple[Pocket, ...]], spacing_mm: float
) -> Tensor:
    """Put pockets into the means of a batch, outside the brain and inside the head.

    Args:
        mean: (batch, 1, x, y, z) intensities.
        brain: (batch, 1, x, y, z) fraction of brain.
        air: (batch, 1) intensity of air.
        parameters: one draw per item.
        spacing_mm: voxel size.

    Returns:
        (batch, 1, x, y, z); the argument itself where no item has pockets.
    """
    if not any(parameters):
        return mean
    x, y, z = mean.shape[2:]
    grid = CoarseGrid((x, y, z), spacing_mm, mean.device, coarse_mm=_HEAD_GRID_MM)
    items = []
    for item, inside, outside, pockets in zip(mean, brain, air, parameters, strict=True):
        if pockets:
            head = ((item - outside).abs() > _VISIBLE).float()
            around = ramp(grid.blur(grid.down(head[None]), [_HEAD_SIGMA_MM]), 0.2, 0.4)
            room = grid.up(around)[0] * (inside <= 0)
            for pocket in pockets:
                item = torch.lerp(item, torch.full_like(item, pocket.value), _weight(pocket, grid) * room)
        items.append(item)
    return torch.stack(items)


def _weight(pocket: Pocket, grid: CoarseGrid) -> Tensor:
    """Return the share of pocket in each voxel if there were no brain, (1, x, y, z)."""
    spacing_mm = grid.full_spacing_mm
    counts = [max(3, int(n * spacing_mm / pocket.spacing_mm)) for n in grid.full]
    noise = voxel_noise([pocket.seed], (1, *counts), grid.device)
    matrices = [
        linear_matrix(torch.linspace(0, nodes - 1, n, device=grid.device), nodes)[None]
        for n, nodes in zip(grid.full, counts, strict=True)
    ]
    return ((apply_along_axes(noise, matrices)[0] - pocket.level) / _EDGE).clamp_(0, 1)
