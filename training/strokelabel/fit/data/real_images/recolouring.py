"""New intensities for a real image: a random curve, with the texture kept and often a lesion mean of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.fit.data.real_images.arrays import box_mean, masked_mean, nonzero_quantiles
from strokelabel.fit.data.real_images.config import RecolouringConfig, RecolouringKind
from strokelabel.synthesis.sampling import Sampler, on_device

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
