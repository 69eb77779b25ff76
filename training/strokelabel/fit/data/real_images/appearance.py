"""New intensities for a real image: a random curve, with the texture kept and often a lesion mean of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from strokelabel.fit.data.real_images.config import AppearanceConfig, RecolouringConfig, RecolouringKind
from strokelabel.fit.data.real_images.slices import box_mean, masked_mean, nonzero_quantiles, smooth_field
from strokelabel.synthesis.sampling import Sampler, on_device, voxel_noise

_AIR = 0.02
"""Intensities up to it stay what they are: nothing."""

_STEEP_PROBABILITY = 0.4
"""Probability that the curve is steeper between its corners than a polygon: half of these times a staircase, in which
each tissue has one intensity."""

_BRIGHTEST_LESION = 1.2


@dataclass(frozen=True)
class Curve:
    """A polygon that maps intensities.

    Attributes:
        values: (corners,) new intensities, in [0, 1].
        knots: (corners,) old intensities, ascending from 0 to 1; None for quantiles of the image, evenly spaced.
        between: course between two corners.
        texture: factor on the image minus its local mean, which the curve leaves out.
    """

    values: Tensor
    knots: Tensor | None
    between: str
    texture: float


@dataclass(frozen=True)
class Recolouring:
    """One draw.

    Attributes:
        kind: of the curve.
        gamma: exponent (kind "gamma").
        curve: any other kind's; None without one.
        lesion_contrast: the lesion's mean minus the brain's; None where the lesion is mapped as everything else.
    """

    kind: RecolouringKind
    gamma: float
    curve: Curve | None
    lesion_contrast: float | None


def sample_recolouring(sampler: Sampler, config: RecolouringConfig) -> Recolouring:
    """Draw new intensities."""
    kinds = list(config.kinds)
    kind = kinds[sampler.choice([config.kinds[name] for name in kinds])]
    gamma = math.exp(sampler.normal(0.0, config.gamma_log_deviation)) if kind == "gamma" else 1.0
    if kind in ("none", "gamma"):
        return Recolouring(kind, gamma, None, None)
    own = kind == "any" or sampler.flip(config.lesion_probability)
    contrast = _either_sign(sampler, sampler.uniform(config.lesion_contrast)) if own else None
    return Recolouring(kind, gamma, _sample_curve(sampler, config, kind), contrast)


def _sample_curve(sampler: Sampler, config: RecolouringConfig, kind: RecolouringKind) -> Curve:
    corners = sampler.integer(*config.knots)
    values = sampler.uniform_tensor((corners,), 0.0, 1.0)
    if kind in ("sorted", "inverted"):
        values = values.sort(descending=kind == "inverted").values
    knots = None
    if sampler.flip(0.5):
        inner = sampler.uniform_tensor((corners - 2,), 0.0, 1.0)
        knots = torch.cat([torch.zeros(1), inner.sort().values, torch.ones(1)])
    between = "line"
    if sampler.flip(_STEEP_PROBABILITY):
        between = "step" if sampler.flip(0.5) else "smooth step"
    return Curve(values, knots, between, _either_sign(sampler, sampler.uniform(config.texture)))


def _either_sign(sampler: Sampler, value: float) -> float:
    return value if sampler.flip(0.5) else -value


def recolour(image: Tensor, lesion: Tensor | None, drawn: Recolouring) -> Tensor:
    """Apply new intensities.

    Args:
        image: (x, y) or (x, y, z) in [0, 1], air 0.
        lesion: known lesion of the same shape, {0, 1}; None if there is none or it must not change.
        drawn: see `sample_recolouring`.

    Returns:
        The same shape, at least 0, air 0.
    """
    if drawn.curve is None:
        return image**drawn.gamma if drawn.kind == "gamma" else image
    tissue = image > _AIR
    local = box_mean(image)
    new = _map(local, image, drawn.curve) + drawn.curve.texture * (image - local)
    if lesion is not None and drawn.lesion_contrast is not None:
        new = _with_lesion(new, image, lesion, tissue, drawn)
    return new.clamp_min(0) * tissue


def _map(local: Tensor, image: Tensor, curve: Curve) -> Tensor:
    """Return the curve at the local means of an image."""
    device = image.device
    values = on_device(curve.values, device)
    if curve.knots is None:
        knots = nonzero_quantiles(image, torch.linspace(0, 1, len(curve.values), device=device))
    else:
        knots = on_device(curve.knots, device)
    piece = torch.bucketize(local, knots[1:-1].contiguous())
    along = ((local - knots[piece]) / (knots[piece + 1] - knots[piece]).clamp_min(1e-3)).clamp(0, 1)
    if curve.between == "step":
        along = (along > 0.5).float()
    elif curve.between == "smooth step":
        along = along * along * (3 - 2 * along)
    return values[piece] + along * (values[piece + 1] - values[piece])


def _with_lesion(new: Tensor, old: Tensor, lesion: Tensor, tissue: Tensor, drawn: Recolouring) -> Tensor:
    """Give the lesion its own mean, with half of its texture."""
    assert drawn.curve is not None and drawn.lesion_contrast is not None
    brain = masked_mean(new, tissue)
    mean = brain + drawn.lesion_contrast
    possible = (mean >= 0) & (mean <= _BRIGHTEST_LESION)
    mean = torch.where(possible, mean, brain - drawn.lesion_contrast)
    inside = mean + 0.5 * drawn.curve.texture * (old - masked_mean(old, lesion))
    soft = box_mean(lesion)
    return new * (1 - soft) + soft * inside


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
