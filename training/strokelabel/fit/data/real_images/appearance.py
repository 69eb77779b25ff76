"""Changes of the intensities of a real image after its geometry: surface coil, smooth field, blur and noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from strokelabel.fit.data.real_images.arrays import box_mean, smooth_field
from strokelabel.fit.data.real_images.config import AppearanceConfig
from strokelabel.fit.data.real_images.recolouring import Recolouring, sample_recolouring
from strokelabel.synthesis.sampling import Sampler, on_device, voxel_noise

_TISSUE = 0.04
"""Intensity from which on a voxel counts as head when the distance to the surface is judged."""

_BLOCK = 4
"""Voxels along an axis that are judged together."""

_SHADING_PROBABILITY = 0.2


@dataclass(frozen=True)
class SurfaceCoil:
    """A coil near the surface.

    Attributes:
        strength: greatest gain minus one; negative where it shades.
        reach: blocks of 4 voxels along an axis over which the head's depth is averaged.
        modulation: control values, three along each axis, that make it uneven.
    """

    strength: float
    reach: int
    modulation: Tensor


@dataclass(frozen=True)
class Appearance:
    """One draw.

    Attributes:
        recolouring: new intensities.
        coil: None without one.
        field: control values of the logarithm of the smooth field.
        blur: whether to average over 3 voxels.
        noise_deviation: where the brightest voxel is 1.
        noise_seed: of the noise, drawn on the device.
    """

    recolouring: Recolouring
    coil: SurfaceCoil | None
    field: Tensor
    blur: bool
    noise_deviation: float
    noise_seed: int


def sample_appearance(sampler: Sampler, config: AppearanceConfig, axes: int) -> Appearance:
    """Draw the changes for an image of two or three axes."""
    return Appearance(
        recolouring=sample_recolouring(sampler, config.recolouring),
        coil=_sample_coil(sampler, config, axes) if sampler.flip(config.coil_probability) else None,
        field=_normal(sampler, [sampler.integer(2, 4) for _ in range(axes)], 0.0, config.field_deviation),
        blur=sampler.flip(config.blur_probability),
        noise_deviation=sampler.uniform(config.noise_deviation),
        noise_seed=sampler.seed(),
    )


def _sample_coil(sampler: Sampler, config: AppearanceConfig, axes: int) -> SurfaceCoil:
    strength = sampler.uniform(config.coil_strength)
    return SurfaceCoil(
        strength=-0.5 * strength if sampler.flip(_SHADING_PROBABILITY) else strength,
        reach=(3, 5, 7)[sampler.integer(0, 2)],
        modulation=_normal(sampler, [3] * axes, 0.5, 0.6).clamp(0, 1),
    )


def _normal(sampler: Sampler, shape: list[int], mean: float, deviation: float) -> Tensor:
    return mean + deviation * torch.randn(tuple(shape), generator=sampler.generator)


def expose(image: Tensor, drawn: Appearance) -> Tensor:
    """Apply coil, field and blur, and scale the brightest voxel to 1.

    Args:
        image: (x, y) or (x, y, z), at least 0, air 0.
        drawn: see `sample_appearance`.

    Returns:
        The same shape, in [0, 1], air 0.
    """
    if drawn.coil is not None:
        image = image * coil_gain(image, drawn.coil)
    image = image * smooth_field(on_device(drawn.field, image.device), image.shape).exp()
    if drawn.blur:
        image = box_mean(image) * (image > 0)
    return image / image.amax().clamp_min(1e-6)


def add_noise(volume: Tensor, drawn: Appearance) -> Tensor:
    """Add noise where there is signal, and cut what falls below zero; (x, y, z)."""
    noise = voxel_noise([drawn.noise_seed], volume.shape, volume.device)[0]
    return (volume + drawn.noise_deviation * noise * (volume > 0)).clamp_min(0)


def coil_gain(image: Tensor, coil: SurfaceCoil) -> Tensor:
    """Return the gain of a surface coil: largest where the head is shallow around a voxel."""
    pool = F.avg_pool2d if image.ndim == 2 else F.avg_pool3d
    mode = "bilinear" if image.ndim == 2 else "trilinear"
    depth = pool((image > _TISSUE).float()[None, None], _BLOCK, _BLOCK)[0, 0]
    depth = box_mean(box_mean(depth, coil.reach))
    near = F.interpolate((1 - depth)[None, None], size=image.shape, mode=mode, align_corners=False)[0, 0]
    uneven = smooth_field(on_device(coil.modulation, image.device), image.shape)
    return (1 + coil.strength * near * uneven).clamp_min(0.2)
