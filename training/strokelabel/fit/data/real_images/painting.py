"""Lesions of the bank, painted into real scans at their place in ICBM space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from strokelabel.fit.data.real_images.arrays import box_mean, masked_mean
from strokelabel.fit.data.real_images.config import PaintingConfig
from strokelabel.synthesis.anatomy.deformation import sample_volume
from strokelabel.synthesis.lesions.bank import LesionBank
from strokelabel.synthesis.sampling import Sampler, on_device
from strokelabel.types import Affine

_TRIES = 4
_SIZE_POWER = 0.35
_SMALLEST_ML = 0.5
_BRIGHTEST = 1.2


@dataclass(frozen=True)
class PaintedLesion:
    """One lesion.

    Attributes:
        index: of the mask in the bank.
        mirror: whether it moves to the other hemisphere.
        shift_mm: in ICBM space.
        soften: whether its edge is averaged over 3 voxels.
        contrast: its mean minus the brain's, in standard deviations of the brain.
        texture: how much of what lay there shows through.
        opacity: weight of the lesion where its mask is 1.
    """

    index: int
    mirror: bool
    shift_mm: tuple[float, float, float]
    soften: bool
    contrast: float
    texture: float
    opacity: float


def sample_painting(
    sampler: Sampler, config: PaintingConfig, volumes_ml: NDArray[np.float64]
) -> tuple[PaintedLesion, ...]:
    """Draw the lesions of a scan; none in some.

    Args:
        sampler: source of randomness.
        config: ranges.
        volumes_ml: of the bank's masks.
    """
    if not sampler.flip(config.probability):
        return ()
    counts = list(config.count_weights)
    count = counts[sampler.choice([config.count_weights[c] for c in counts])]
    return tuple(_sample_lesion(sampler, config, volumes_ml) for _ in range(count))


def _sample_lesion(
    sampler: Sampler, config: PaintingConfig, volumes_ml: NDArray[np.float64]
) -> PaintedLesion:
    contrast = sampler.uniform(config.contrast)
    x, y, z = (sampler.uniform(config.shift_mm) for _ in range(3))
    return PaintedLesion(
        index=_draw_mask(sampler, config.preferred_ml, volumes_ml),
        mirror=sampler.flip(config.mirror_probability),
        shift_mm=(x, y, z),
        soften=sampler.flip(config.softening_probability),
        contrast=contrast if sampler.flip(0.5) else -contrast,
        texture=sampler.uniform(config.texture),
        opacity=sampler.uniform(config.opacity),
    )


def _draw_mask(sampler: Sampler, preferred_ml: float, volumes_ml: NDArray[np.float64]) -> int:
    """Draw a mask of the bank; large ones are often drawn again."""
    for _ in range(_TRIES):
        index = sampler.integer(0, len(volumes_ml) - 1)
        acceptance = (preferred_ml / max(float(volumes_ml[index]), _SMALLEST_ML)) ** _SIZE_POWER
        if sampler.flip(min(1.0, acceptance)):
            break
    return index


def paint(
    image: Tensor,
    inside: Tensor,
    lesions: tuple[PaintedLesion, ...],
    bank: LesionBank,
    coordinates_mm: Tensor,
    to_icbm: Affine,
) -> tuple[Tensor, Tensor]:
    """Paint lesions into a scan, one after another.

    Args:
        image: (x, y, z), brain tissue up to about 0.8.
        inside: (x, y, z) where lesions may lie, {0, 1}.
        lesions: see `sample_painting`.
        bank: lesion masks on the ICBM grid.
        coordinates_mm: (x, y, z, 3) position of each voxel in the scan.
        to_icbm: (4, 4) from there to ICBM mm.

    Returns:
        The image, and the lesions' masks together, soft, (x, y, z).
    """
    together = torch.zeros_like(image)
    for lesion in lesions:
        weight = place_mask(lesion, bank, coordinates_mm, to_icbm)
        weight = (box_mean(weight) if lesion.soften else weight) * inside
        together = torch.maximum(together, weight)
        mean = masked_mean(image, inside)
        deviation = masked_mean((image - mean).square(), inside).sqrt()
        own = (mean + lesion.contrast * deviation).clamp(0, _BRIGHTEST)
        weight = weight * lesion.opacity
        image = image * (1 - weight) + weight * (own + lesion.texture * (image - mean))
    return image, together


def place_mask(lesion: PaintedLesion, bank: LesionBank, coordinates_mm: Tensor, to_icbm: Affine) -> Tensor:
    """Return a mask of the bank on the grid of a scan, linear at its edge, (x, y, z).

    Args as `paint`.
    """
    device = coordinates_mm.device
    crop = F.pad(torch.from_numpy(bank.crop(lesion.index)).float(), (1,) * 6)
    move = np.eye(4)
    move[:3, 3] = -np.array(lesion.shift_mm)
    mirror = np.diag([-1.0 if lesion.mirror else 1.0, 1, 1, 1])
    to_crop = np.linalg.inv(bank.affine)
    to_crop[:3, 3] -= np.array(bank.offset(lesion.index)) - 1
    matrix = torch.from_numpy((to_crop @ mirror @ move @ to_icbm).astype(np.float32))
    return sample_volume(
        on_device(crop, device)[None, None],
        coordinates_mm[None],
        on_device(matrix[None, :3, :3].contiguous(), device),
        on_device(matrix[None, :3, 3].contiguous(), device),
    )[0, 0]
