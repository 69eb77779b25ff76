"""Distractors, which a model must not call lesion: white-matter hyperintensities, susceptibility, uneven tissue, basal
ganglia.

Drawn for heads with and without lesions, and never labelled lesion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from strokelabel.labels import LabelTable
from strokelabel.synthesis.config import DistractorConfig
from strokelabel.synthesis.contrast.gaussian_mixture import CT, ContrastParameters
from strokelabel.synthesis.fields import CoarseGrid, ramp
from strokelabel.synthesis.sampling import Sampler, column, on_device

SUSCEPTIBILITY_MM = (
    (-36.0, 12.0, -34.0), (36.0, 12.0, -34.0),  # temporal poles
    (-46.0, -22.0, -28.0), (46.0, -22.0, -28.0),  # above the petrous bones
    (-9.0, 38.0, -22.0), (9.0, 38.0, -22.0),  # frontal base, above the sinuses
)  # fmt: skip
"""ICBM positions near air, where echo-planar images gain or lose signal."""

_BASAL_GANGLIA = {"pallidum": (13, 52), "putamen": (12, 51), "caudate": (11, 50)}
_DARKER = 0.7
"""Darkening of cortex as a fraction of the brightening it would get."""
_LOWEST_HALO_MM = -8.0
"""ICBM height below which ventricles have no halo here: the third and fourth ventricle lie in gray matter and pons."""


@dataclass(frozen=True)
class Susceptibility:
    """Signal gained or lost around one position (ICBM mm)."""

    center_mm: tuple[float, float, float]
    radius_mm: float
    amplitude: float
    """Greatest change as a fraction of the signal."""


@dataclass(frozen=True)
class DistractorParameters:
    """Distractors of one head; a strength of zero leaves one out.

    Attributes:
        seed: of the irregularities.
        halo_strength, halo_sigma_mm, halo_threshold, halo_stretch: periventricular hyperintensity; `halo_stretch`
            lengthens it into caps at the horns.
        spot_strength, spot_sigma_mm, spot_level: spots in the deep white matter, where noise exceeds the level.
        cortex_gain, cortex_sigma_mm: patches of brighter cortex, or darker if negative.
        susceptibility: may be empty.
        white_gain, white_sigma_mm: patches of brighter and of darker white matter.
    """

    seed: int
    halo_strength: float
    halo_sigma_mm: float
    halo_threshold: float
    halo_stretch: float
    spot_strength: float
    spot_sigma_mm: float
    spot_level: float
    cortex_gain: float
    cortex_sigma_mm: float
    susceptibility: tuple[Susceptibility, ...]
    white_gain: float = 0.0
    white_sigma_mm: float = 12.0


def sample_distractors(sampler: Sampler, config: DistractorConfig, family: str) -> DistractorParameters:
    """Draw the distractors that are fields; `alter_basal_ganglia` is apart, for it changes the contrast.

    Args:
        sampler: source of randomness.
        config: how often each occurs.
        family: of the contrast.
    """
    hyperintense = sampler.flip(config.hyperintensity_probability)
    spots = hyperintense and sampler.flip(config.spot_probability)
    cortex = sampler.flip(config.cortex_probability) and _has_cortex_patches(config, family)
    susceptible = sampler.flip(config.susceptibility_probability) and family in ("dwi", "random")
    drawn = DistractorParameters(
        seed=sampler.seed(),
        halo_strength=sampler.uniform((0.5, 1.0)) if hyperintense else 0.0,
        halo_sigma_mm=sampler.uniform(config.hyperintensity_sigma_mm),
        halo_threshold=sampler.uniform((0.02, 0.3)),
        halo_stretch=sampler.uniform((1.0, 2.0)),
        spot_strength=sampler.uniform((0.5, 1.0)) if spots else 0.0,
        spot_sigma_mm=sampler.uniform((1.0, 2.5)),
        spot_level=sampler.uniform((2.2, 3.0)),
        cortex_gain=sampler.uniform((0.1, 0.45)) if cortex else 0.0,
        cortex_sigma_mm=sampler.uniform((4.0, 12.0)),
        susceptibility=_sample_susceptibility(sampler) if susceptible else (),
    )
    if config.cortex_darker_probability:
        often = config.cortex_darker_probability * (2 if family == "t1" else 1)
        share = -_DARKER if sampler.flip(often) else 1.0
        drawn = replace(drawn, cortex_gain=drawn.cortex_gain * share)
    if not config.white_matter_probability:
        return drawn  # nothing is drawn, so that other recipes' images stay what they were
    uneven = sampler.flip(config.white_matter_probability)
    gain, sigma_mm = sampler.uniform((0.05, 0.25)), sampler.uniform((6.0, 25.0))
    return replace(drawn, white_gain=gain if uneven else 0.0, white_sigma_mm=sigma_mm)


def _has_cortex_patches(config: DistractorConfig, family: str) -> bool:
    """Tell whether cortex is uneven in a contrast family: never on CT, and on T1w only if it may be darker."""
    return family != CT and (family != "t1" or config.cortex_darker_probability > 0)


def _sample_susceptibility(sampler: Sampler) -> tuple[Susceptibility, ...]:
    """Sample some of the positions, each with its own strength; gain is more frequent than loss."""
    found = []
    for x, y, z in SUSCEPTIBILITY_MM:
        present, gain = sampler.flip(0.6), sampler.flip(0.75)
        jitter = [sampler.normal(0, 4.0) for _ in range(3)]
        radius, strength = sampler.uniform((5.0, 12.0)), sampler.uniform((0.4, 1.0))
        if present:
            center = (x + jitter[0], y + jitter[1], z + jitter[2])
            found.append(Susceptibility(center, radius, 2.5 * strength if gain else -0.8 * strength))
    return tuple(found)


def alter_basal_ganglia(
    sampler: Sampler, config: DistractorConfig, contrast: ContrastParameters, table: LabelTable
) -> ContrastParameters:
    """Darken pallidum, putamen and caudate as iron and calcium do, more or less, and slightly different left and right.

    On T1w images and CT they brighten; in random contrast either happens. One feature, the intensity.
    """
    if not sampler.flip(config.basal_ganglia_probability):
        return contrast
    ranges = {"t1": (1.0, 1.4), "random": (0.6, 1.5), CT: (0.95, 1.35)}
    low, high = ranges.get(contrast.family, (0.45, 1.05))
    means = contrast.means.clone()
    ids = {label.id for label in table.labels}
    for sides in _BASAL_GANGLIA.values():
        factor = sampler.uniform((low, high))
        for label_id in sides:
            own = factor * sampler.uniform((0.88, 1.12))
            if label_id in ids:
                means[table.index(label_id)] *= own
    return replace(contrast, means=means)


def hyperintensity_weight(
    parameters: list[DistractorParameters],
    ventricle: Tensor,
    white: Tensor,
    height_mm: Tensor,
    grid: CoarseGrid,
) -> Tensor | None:
    """Return the weight of the component "hyperintensity". None when no item of the batch has any.

    Args:
        parameters: one per batch item.
        ventricle, white: (batch, 1, x, y, z) fractions of the voxel.
        height_mm: (batch, 1, *coarse) ICBM z.
        grid: of the image.

    Returns:
        (batch, 1, x, y, z) in [0, 1], inside white matter.
    """
    if not any(p.halo_strength for p in parameters):
        return None

    def value(name: str) -> Tensor:
        return column([getattr(p, name) for p in parameters], grid.device)

    seeds = [p.seed for p in parameters]
    near = grid.blur(
        grid.down(ventricle) * ramp(height_mm, _LOWEST_HALO_MM, 6.0),
        [p.halo_sigma_mm for p in parameters],
        [p.halo_stretch for p in parameters],
    )
    rough = near * (1 + 0.35 * grid.noise(seeds, [3.0] * len(seeds)))
    halo = ramp(rough, value("halo_threshold"), 0.15) * value("halo_strength")
    noise = grid.noise([s + 1 for s in seeds], [p.spot_sigma_mm for p in parameters])
    deep = ramp(grid.blur(grid.down(white), [3.0] * len(seeds)), 0.6, 0.3) * ramp(height_mm, 0.0, 6.0)
    spots = ramp(noise, value("spot_level"), 0.3) * deep * value("spot_strength")
    return grid.up(torch.maximum(halo, spots)) * white


def signal_gain(
    parameters: list[DistractorParameters],
    gray: Tensor,
    white: Tensor,
    brain: Tensor,
    icbm_mm: Tensor,
    grid: CoarseGrid,
) -> Tensor | None:
    """Return the factor on the image: bright cortex, uneven white matter, susceptibility. None when no item of the
    batch has any.

    Args:
        parameters: one per batch item.
        gray, white, brain: (batch, 1, x, y, z) fractions of the voxel.
        icbm_mm: (batch, 3, *coarse) position in ICBM space.
        grid: of the image.

    Returns:
        (batch, 1, x, y, z), above 0.
    """
    gain = None
    if any(p.cortex_gain for p in parameters):
        noise = grid.noise([p.seed + 2 for p in parameters], [p.cortex_sigma_mm for p in parameters])
        patches = ramp(noise, 0.3, 1.0) * column([p.cortex_gain for p in parameters], grid.device)
        gain = 1 + grid.up(patches) * gray
    if any(p.white_gain for p in parameters):
        noise = grid.noise([p.seed + 4 for p in parameters], [p.white_sigma_mm for p in parameters])
        patches = torch.tanh(noise) * column([p.white_gain for p in parameters], grid.device)
        change = 1 + grid.up(patches) * white
        gain = change if gain is None else gain * change
    if any(p.susceptibility for p in parameters):
        near = torch.stack([_near_air(p, icbm_mm[i], grid) for i, p in enumerate(parameters)])
        change = (1 + grid.up(near) * brain).clamp_min(0.05)
        gain = change if gain is None else gain * change
    return gain


def _near_air(parameters: DistractorParameters, icbm_mm: Tensor, grid: CoarseGrid) -> Tensor:
    """Return the relative change of one item's signal near air, (1, *coarse)."""
    change = torch.zeros(1, *grid.shape, device=grid.device)
    if not parameters.susceptibility:
        return change
    rough = 1 + 0.3 * grid.noise([parameters.seed + 3], [3.0])[0]
    for spot in parameters.susceptibility:
        center = on_device(torch.tensor(spot.center_mm).view(3, 1, 1, 1), grid.device)
        square = (icbm_mm - center).square().sum(dim=0, keepdim=True)
        change += spot.amplitude * torch.exp(-0.5 * square / spot.radius_mm**2)
    return change * rough.clamp_min(0)
