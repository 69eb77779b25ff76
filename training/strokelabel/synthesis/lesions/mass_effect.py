"""Swelling: the anatomy around a large fresh lesion is pushed away from it, by a few millimetres and without folds.

The push follows the slope of the blurred lesion mask, so that it is strongest at the lesion's border, points outwards
and fades with distance: ventricles are squeezed and the midline shifts. It fades towards the skull, which is rigid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from strokelabel.synthesis.config import MassEffectConfig
from strokelabel.synthesis.fields import CoarseGrid, ramp
from strokelabel.synthesis.lesions.stage import FRESH
from strokelabel.synthesis.sampling import Sampler, column, on_device

_STEEPEST = 0.7
"""Bound on the norm of the displacement's gradient; below one, the deformation cannot fold."""
_FULL_EFFECT_ML = 80.0
"""Lesions of this volume and above are pushed by the full displacement; smaller ones by their share of the radius."""
_TISSUE_MM = 5.0
"""Scale on which the push fades towards the skull."""


@dataclass(frozen=True)
class SwellingParameters:
    """Displacement of the anatomy; zero leaves it unchanged.

    Attributes:
        displacement_mm: of the most displaced point, for lesions of 80 ml and more.
        sigma_mm: reach of the push.
        minimum_volume_ml: smaller lesions push nothing.
    """

    displacement_mm: float
    sigma_mm: float
    minimum_volume_ml: float


def sample_swelling(sampler: Sampler, config: MassEffectConfig, stage: str) -> SwellingParameters:
    """Draw the swelling of a head's lesions; only fresh lesions have any."""
    swollen = sampler.flip(config.probability) and stage in FRESH
    displacement = sampler.uniform(config.displacement_mm)
    return SwellingParameters(
        displacement_mm=displacement if swollen else 0.0,
        sigma_mm=sampler.uniform((10.0, 18.0)),
        minimum_volume_ml=config.minimum_volume_ml,
    )


def swell(
    parameters: list[SwellingParameters],
    soft: Tensor,
    coordinates_mm: Tensor,
    brain: Tensor,
    grid: CoarseGrid,
) -> Tensor:
    """Return the source positions of the anatomy after swelling.

    Args:
        parameters: one per batch item.
        soft: (batch, 1, x, y, z) soft mask of the lesions.
        coordinates_mm: (batch, x, y, z, 3) position of each voxel before the push.
        brain: (batch, 1, *coarse) brain before the push.
        grid: of the image.

    Returns:
        (batch, x, y, z, 3), in the space of `coordinates_mm`.
    """
    push = displacement_field(parameters, soft, brain, grid)
    coarse = grid.points(coordinates_mm)
    moved = _sample_at(coarse, -push / grid.spacing_mm)
    return coordinates_mm + grid.up(moved - coarse).permute(0, 2, 3, 4, 1)


def displacement_field(
    parameters: list[SwellingParameters], soft: Tensor, brain: Tensor, grid: CoarseGrid
) -> Tensor:
    """Return the push outwards in mm along the image's axes, (batch, 3, *coarse); see `swell` for the arguments."""
    mask = grid.down(soft)
    slope = _gradient(grid.blur(mask, [p.sigma_mm for p in parameters]), grid.spacing_mm)
    inside = ramp(grid.blur(brain, [_TISSUE_MM] * len(parameters)), 0.45, 0.5)
    field = -slope * inside
    largest = field.square().sum(dim=1, keepdim=True).amax(dim=(2, 3, 4), keepdim=True).sqrt()
    volume_ml = mask.sum(dim=(1, 2, 3, 4), keepdim=True) * grid.spacing_mm**3 / 1000
    share = (volume_ml / _FULL_EFFECT_ML).pow(1 / 3).clamp(max=1)
    share = share * (volume_ml >= column([p.minimum_volume_ml for p in parameters], grid.device))
    wanted = column([p.displacement_mm for p in parameters], grid.device) * share
    field = field * (wanted / largest.clamp_min(1e-9))
    return field * (_STEEPEST / _steepness(field, grid.spacing_mm).clamp_min(_STEEPEST))


def _gradient(volume: Tensor, spacing_mm: float) -> Tensor:
    """Return the slope per mm of (batch, 1, x, y, z) along the three axes, (batch, 3, x, y, z)."""
    return torch.cat(torch.gradient(volume, spacing=spacing_mm, dim=(2, 3, 4)), dim=1)


def _steepness(field: Tensor, spacing_mm: float) -> Tensor:
    """Return the largest Frobenius norm of the gradient of a vector field, (batch, 1, 1, 1, 1)."""
    square = sum(
        (difference / spacing_mm).square().sum(dim=1).amax(dim=(1, 2, 3))
        for difference in (field.diff(dim=axis) for axis in (2, 3, 4))
    )
    return torch.as_tensor(square).sqrt().view(-1, 1, 1, 1, 1)


def _sample_at(volume: Tensor, offset: Tensor) -> Tensor:
    """Sample (batch, c, x, y, z) at each voxel plus an offset (batch, 3, x, y, z) in voxels; edges held."""
    sizes = on_device(torch.tensor(volume.shape[2:]), volume.device)
    axes = [torch.linspace(-1, 1, n, device=volume.device) for n in volume.shape[2:]]
    unit = (2 / (sizes - 1)).view(1, 3, 1, 1, 1)
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None] + offset * unit
    order = points.flip(1).permute(0, 2, 3, 4, 1)
    return F.grid_sample(volume, order, mode="bilinear", padding_mode="border", align_corners=True)
