"""Lesions as a wrong segmentation has them: dropped, moved, too large or too small, and invented."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from strokelabel.synthesis.label_noise.config import LabelNoiseConfig
from strokelabel.synthesis.lesions.bank import BLOB, Fragment, LesionBank
from strokelabel.synthesis.lesions.lesion import LesionDraw, LesionParameters
from strokelabel.synthesis.lesions.stage import NO_PENUMBRA
from strokelabel.synthesis.sampling import Sampler

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
