"""Errors of label maps: their settings, and the draws of them.

Cubes are replaced by others from elsewhere in the map ("squares jigsaw", Karani et al. 2021). Lesions are as a wrong
segmentation has them: dropped, moved, too large or too small, and invented.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from strokelabel.synthesis.config_sections import Range, Section
from strokelabel.synthesis.lesions.bank import BLOB, Fragment, LesionBank
from strokelabel.synthesis.lesions.lesion import LesionDraw, LesionParameters
from strokelabel.synthesis.lesions.stage import NO_PENUMBRA
from strokelabel.synthesis.sampling import Sampler


class LabelNoiseConfig(Section):
    """Errors of label maps.

    The sides of the cubes, 9 to 21 mm at 3 mm, are about those of Karani et al. 2021 within a slice (2 to 15 mm).
    There, up to 200 of up to 21 x 21 x 21 voxels fall on 4 million voxels of 0.7 x 0.7 x 2.8 mm; the same numbers on
    the 226 thousand voxels of a head at 3 mm would replace three quarters of it by cubes as large as a lobe, whose
    inside looks right. Smaller and more of them lie in mostly right surroundings, from which a network learns.
    """

    variations: int = Field(1, ge=1)
    """Label maps with different errors of each anatomy in training; saves time in batches of several, since the anatomy
    takes most of it.
    """
    correct_probability: float = Field(0.15, ge=0, le=1)
    """Share of label maps without errors, so that correct ones are left as they are."""
    hard_probability: float = Field(0.5, ge=0, le=1)
    """Share of label maps with the most likely class alone in every voxel; the others have partial volumes."""
    jigsaw_probability: float = Field(0.8, ge=0, le=1)
    """Share of the label maps with errors in which cubes are replaced."""
    cubes: tuple[int, int] = (200, 4000)
    """Number of cubes."""
    half_side_voxels: tuple[int, int] = (1, 2)
    """Half the side of a cube, the voxel in its middle left out."""
    dropped_probability: float = Field(0.15, ge=0, le=1)
    """Probability that a lesion is missing."""
    moved_probability: float = Field(0.15, ge=0, le=1)
    """Probability that a lesion that is there lies at another place."""
    moved_mm: Range = (5.0, 40.0)
    """Distance by which it is moved, in a random direction."""
    resized_probability: float = Field(0.3, ge=0, le=1)
    """Probability that a lesion that is not moved is too large, or as often too small."""
    resized_mm: tuple[int, int] = (1, 5)
    """By how much, on each side."""
    invented_probability: float = Field(0.4, ge=0, le=1)
    """Share of the label maps with errors that have lesions where there are none."""
    invented_count: tuple[int, int] = (1, 6)
    """Number of invented lesions."""
    invented_ml: Range = (0.1, 40.0)
    """Volume of an invented lesion; its logarithm is uniform."""


@dataclass(frozen=True)
class JigsawParameters:
    """One draw.

    Attributes:
        half_sides: (cubes,) voxels on each side of the one in a cube's middle.
        targets: (cubes, 3) first voxel of each cube that is replaced, x, y, z.
        sources: (cubes, 3) first voxel of what takes its place.
    """

    half_sides: Tensor
    targets: Tensor
    sources: Tensor


def sample_jigsaw(
    sampler: Sampler, config: LabelNoiseConfig, shape: tuple[int, int, int]
) -> JigsawParameters:
    """Draw the cubes; all of them lie within the volume.

    Args:
        sampler: source of randomness.
        config: how many, and how large.
        shape: voxels of the volume.
    """
    count = sampler.integer(*config.cubes)
    low, high = config.half_side_voxels
    largest = (min(shape) - 1) // 2
    half_sides = sampler.uniform_tensor((count,), low, high + 1).long().clamp_max(min(high, largest))
    room = torch.tensor(shape)[None] - (2 * half_sides + 1)[:, None] + 1
    targets, sources = ((sampler.uniform_tensor((count, 3), 0, 1) * room).long() for _ in range(2))
    return JigsawParameters(half_sides, targets, sources)


def apply_jigsaw(maps: Tensor, parameters: JigsawParameters) -> Tensor:
    """Return a copy of a label map with its cubes replaced, one after another, by those of the given map.

    Args:
        maps: (classes, x, y, z).
        parameters: see `sample_jigsaw`.
    """
    changed = maps.clone()
    for half, target, source in zip(
        parameters.half_sides.tolist(),
        parameters.targets.tolist(),
        parameters.sources.tolist(),
        strict=True,
    ):
        side = 2 * half + 1
        there, here = (tuple(slice(first, first + side) for first in corner) for corner in (target, source))
        changed[(slice(None), *there)] = maps[(slice(None), *here)]
    return changed


_BLUR_VOXELS = 0.7


@dataclass(frozen=True)
class LesionErrors:
    """Lesions of a wrong segmentation.

    Attributes:
        found: those that are there in truth, some of them resized.
        false: lesions at a wrong place: moved and invented ones.
        is_complete: whether all true lesions are found, and none resized.
    """

    found: LesionParameters
    false: LesionParameters
    is_complete: bool


def sample_lesion_errors(
    sampler: Sampler, config: LabelNoiseConfig, lesions: LesionParameters, bank: LesionBank
) -> LesionErrors:
    """Draw the errors of a head's lesions.

    Args:
        sampler: source of randomness.
        config: how often which error occurs.
        lesions: the true ones.
        bank: which these are from.
    """
    found: list[LesionDraw] = []
    false: list[Fragment] = []
    for draw in lesions.draws:
        if sampler.flip(config.dropped_probability):
            continue
        if sampler.flip(config.moved_probability):
            false.append(_moved(sampler, config, draw, bank))
        elif sampler.flip(config.resized_probability):
            found.append(_resized(sampler, config, draw))
        else:
            found.append(draw)
    if sampler.flip(config.invented_probability):
        count = sampler.integer(*config.invented_count)
        false += [_invented(sampler, config, bank) for _ in range(count)]
    same = len(found) == len(lesions.draws) and all(
        one is draw for one, draw in zip(found, lesions.draws, strict=True)
    )
    return LesionErrors(
        replace(lesions, draws=tuple(found)), replace(lesions, draws=(), fragments=tuple(false)), same
    )


def _moved(sampler: Sampler, config: LabelNoiseConfig, draw: LesionDraw, bank: LesionBank) -> Fragment:
    """Return a mask of the bank at another place."""
    middle = bank.offsets[draw.index] + (bank.shapes[draw.index] - 1) / 2
    center = bank.affine[:3, :3] @ middle + bank.affine[:3, 3]
    center[0] *= -1 if draw.mirror else 1
    direction = torch.randn(3, generator=sampler.generator).numpy()
    shift = sampler.uniform(config.moved_mm) * direction / max(1e-6, float(np.linalg.norm(direction)))
    x, y, z = (float(value) for value in center + shift)
    return Fragment(draw.index, 0, 0.0, draw.mirror, (x, y, z), draw.blur_sigma_voxels, NO_PENUMBRA)


def _resized(sampler: Sampler, config: LabelNoiseConfig, draw: LesionDraw) -> LesionDraw:
    """Return a lesion with a margin added, or taken away where that leaves anything of it."""
    radius = sampler.integer(*config.resized_mm)
    if sampler.flip(0.5):
        return replace(draw, dilation_voxels=draw.dilation_voxels + radius)
    return replace(draw, erosion_voxels=draw.erosion_voxels + radius)


def _invented(sampler: Sampler, config: LabelNoiseConfig, bank: LesionBank) -> Fragment:
    """Return a blob anywhere in the bank's grid, which reaches beyond the brain."""
    low, high = config.invented_ml
    volume = math.exp(sampler.uniform((math.log(low), math.log(high))))
    index = np.array([sampler.uniform((0.0, n - 1.0)) for n in bank.grid_shape])
    x, y, z = (float(value) for value in bank.affine[:3, :3] @ index + bank.affine[:3, 3])
    return Fragment(BLOB, sampler.seed(), volume, False, (x, y, z), _BLUR_VOXELS, NO_PENUMBRA)
