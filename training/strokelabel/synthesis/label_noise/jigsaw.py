"""Cubes of a label map that are replaced by others from elsewhere in it ("squares jigsaw", Karani et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.synthesis.label_noise.config import LabelNoiseConfig
from strokelabel.synthesis.sampling import Sampler


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
