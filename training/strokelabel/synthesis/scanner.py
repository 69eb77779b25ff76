"""Effects of the scanner on an image: coil, coverage, and artefacts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from strokelabel.synthesis.config import ArtefactConfig
from strokelabel.synthesis.config_sections import CoilConfig, CoverageConfig
from strokelabel.synthesis.fields import (
    CoarseGrid,
    apply_along_axes,
    evaluate_fields,
    gaussian_matrix,
    linear_matrix,
    sample_nodes,
)
from strokelabel.synthesis.sampling import Sampler, column, on_device, voxel_noise
from strokelabel.types import ImageBatch

_GRID_MM = 6.0
_VISIBLE = 0.04
"""Share of the greatest signal from which on there is something."""
_LEAST_GAIN = 0.2
_FWHM_TO_SIGMA = 1 / 2.3548


@dataclass(frozen=True)
class CoilParameters:
    """One draw.

    Attributes:
        strength: gain of a point with nothing but air around, minus one; a flat surface has half of it. 0 for none.
        depth_mm: FWHM of the neighbourhood whose share of air says how near the surface is.
        modulation: (1, 3, 3, 3) node values of a field that is clipped to [0, 1] and multiplies the gain.
    """

    strength: float
    depth_mm: float
    modulation: Tensor


NO_COIL = CoilParameters(0.0, 1.0, torch.zeros(1, 3, 3, 3))
"""Coil with the same signal at any depth."""


def sample_coil(sampler: Sampler, config: CoilConfig) -> CoilParameters:
    """Draw the coil of one scan."""
    present = sampler.flip(config.probability)
    sign = -0.5 if sampler.flip(config.inverted_probability) else 1.0
    drawn = CoilParameters(
        strength=sign * sampler.uniform(config.strength),
        depth_mm=sampler.uniform(config.depth_mm),
        modulation=0.5 + 0.6 * torch.randn((1, 3, 3, 3), generator=sampler.generator),
    )
    return drawn if present else NO_COIL


def apply_coil(images: Tensor, mask: Tensor, parameters: list[CoilParameters], spacing_mm: float) -> Tensor:
    """Multiply by the sensitivity of the coils.

    Args:
        images: (batch, 1, x, y, z), not negative.
        mask: (batch, 1, x, y, z) of 0 and 1: what is shown of them; its border counts as surface.
        parameters: one draw per item.
        spacing_mm: voxel size.

    Returns:
        (batch, 1, x, y, z); the argument itself where no item has such a coil.
    """
    if not any(p.strength for p in parameters):
        return images
    x, y, z = images.shape[2:]
    grid = CoarseGrid((x, y, z), spacing_mm, images.device, coarse_mm=_GRID_MM)
    seen = images * mask
    head = (seen > _VISIBLE * seen.amax(dim=(1, 2, 3, 4), keepdim=True)).float()
    share = grid.blur(grid.down(head), [p.depth_mm * _FWHM_TO_SIGMA for p in parameters])
    uneven = evaluate_fields([p.modulation for p in parameters], grid.shape, images.device).clamp_(0, 1)
    gain = 1 + column([p.strength for p in parameters], images.device) * (1 - share) * uneven
    return images * grid.up(gain.clamp_min_(_LEAST_GAIN))


@dataclass(frozen=True)
class CoverageParameters:
    """Stack of slices that was scanned.

    Attributes:
        axis: 0, 1 or 2: along which the slices are stacked.
        offset_mm: from the middle of the field of view to the middle of the stack.
        thickness_mm: of the stack.
    """

    axis: int
    offset_mm: float
    thickness_mm: float


def sample_coverage(
    sampler: Sampler, config: CoverageConfig, resolution_mm: tuple[float, float, float]
) -> CoverageParameters | None:
    """Draw what is covered; None for the whole field of view.

    Args:
        sampler: source of randomness.
        config: ranges.
        resolution_mm: slice spacing per axis, 0 for none (`artefacts.ArtefactParameters`): thick slices are stacked
            along their own axis.
    """
    covered = sampler.flip(config.probability)
    axis = sampler.choice(config.axis_weights)
    drawn = CoverageParameters(
        axis=_slice_axis(resolution_mm, axis),
        offset_mm=sampler.uniform(config.offset_mm),
        thickness_mm=sampler.uniform(config.thickness_mm),
    )
    return drawn if covered else None


def _slice_axis(resolution_mm: tuple[float, float, float], otherwise: int) -> int:
    """Return the only axis with thick slices, or the given one."""
    thick = [axis for axis, spacing in enumerate(resolution_mm) if spacing > 0]
    return thick[0] if len(thick) == 1 else otherwise


def restrict(mask: Tensor, parameters: list[CoverageParameters | None], spacing_mm: float) -> Tensor:
    """Take what was not scanned out of a mask.

    Args:
        mask: (batch, 1, x, y, z) of 0 and 1: what is shown of each image.
        parameters: one draw per item.
        spacing_mm: voxel size.

    Returns:
        (batch, 1, x, y, z); the argument itself where all is covered.
    """
    if not any(parameters):
        return mask
    items = []
    for item, covered in zip(mask, parameters, strict=True):
        if covered is not None:
            shape = [1, 1, 1, 1]
            shape[covered.axis + 1] = -1
            item = item * _inside(covered, item.shape[covered.axis + 1], spacing_mm, mask).view(shape)
        items.append(item)
    return torch.stack(items)


def _inside(covered: CoverageParameters, size: int, spacing_mm: float, like: Tensor) -> Tensor:
    """Return 1 for the planes of the stack, at least one, and 0 for the others, (size,)."""
    distance = ((torch.arange(size) - (size - 1) / 2) * spacing_mm - covered.offset_mm).abs()
    inside = distance <= max(covered.thickness_mm / 2, float(distance.min()))
    return on_device(inside.to(like.dtype), like.device)


_NOISE = (0.02, 0.08)
"""Standard deviation in a window of 80 Hounsfield units: 1.6 to 6.4 of them."""


def as_ct(sampler: Sampler, artefacts: ArtefactParameters) -> ArtefactParameters:
    """Return the artefacts of a CT with the slices of another draw.

    Args:
        sampler: source of randomness.
        artefacts: drawn for magnetic resonance.
    """
    return replace(
        artefacts,
        bias=torch.zeros_like(artefacts.bias),
        gamma=1.0,
        noise_deviation=sampler.uniform(_NOISE),
        noise_field=torch.zeros_like(artefacts.noise_field),
        magnitude=False,
    )


@dataclass(frozen=True)
class ArtefactParameters:
    """One draw.

    Attributes:
        bias: (1, kx, ky, kz) node values of the bias field minus one, or of its logarithm.
        gamma: exponent.
        motion_fwhm_mm: per axis.
        resolution_mm: spacing of the acquired voxels or slices per axis; 0 keeps the axis as it is.
        thickness_mm: slice thickness per axis.
        phase: position of the first slice within its spacing, in [0, 1), per axis.
        noise_deviation: on the image scaled to [0, 1].
        noise_field: (1, kx, ky, kz) node values of the relative noise level minus one.
        noise_seed: seed of the noise.
        magnitude: true for the magnitude of a complex signal, as in magnetic resonance. If not, as on CT, noise is
            Gaussian, gamma changes nothing, and values may be negative until `clip_to_window`.
    """

    bias: Tensor
    gamma: float
    motion_fwhm_mm: tuple[float, float, float]
    resolution_mm: tuple[float, float, float]
    thickness_mm: tuple[float, float, float]
    phase: tuple[float, float, float]
    noise_deviation: float
    noise_field: Tensor
    noise_seed: int
    magnitude: bool = True


def sample_artefacts(sampler: Sampler, config: ArtefactConfig) -> ArtefactParameters:
    """Draw the artefacts of one acquisition."""
    resolution = _sample_resolution(sampler, config)
    fraction = sampler.uniform(config.slice_thickness_fraction)
    motion = sampler.uniform(config.motion_fwhm_mm)
    x, y, z = (motion * sampler.uniform((0.0, 1.0)) for _ in range(3))
    return ArtefactParameters(
        bias=sample_nodes(sampler, config.bias_nodes) * sampler.uniform(config.bias_strength),
        gamma=math.exp(sampler.normal(0, config.gamma_log_deviation)),
        motion_fwhm_mm=(x, y, z),
        resolution_mm=resolution,
        thickness_mm=(resolution[0] * fraction, resolution[1] * fraction, resolution[2] * fraction),
        phase=(sampler.uniform((0, 1)), sampler.uniform((0, 1)), sampler.uniform((0, 1))),
        noise_deviation=sampler.uniform(config.noise_deviation),
        noise_field=sample_nodes(sampler, config.noise_nodes) * sampler.uniform(config.noise_strength),
        noise_seed=sampler.seed(),
    )


def _sample_resolution(sampler: Sampler, config: ArtefactConfig) -> tuple[float, float, float]:
    """Sample thick slices along one axis, low resolution along all, or neither."""
    if sampler.flip(config.full_resolution_probability):
        return 0.0, 0.0, 0.0
    resolution = sampler.uniform(config.resolution_mm)
    if sampler.flip(config.thick_slice_probability):
        axis = sampler.integer(0, 2)
        x, y, z = (resolution if i == axis else 0.0 for i in range(3))
        return x, y, z
    isotropic = min(resolution, config.isotropic_limit_mm)
    return isotropic, isotropic, isotropic


def without_noise(parameters: ArtefactParameters) -> ArtefactParameters:
    """Return the same acquisition by a scanner that adds no noise."""
    return replace(parameters, noise_deviation=0.0)


def apply_bias(
    images: ImageBatch, parameters: list[ArtefactParameters], *, exponential: bool = False
) -> ImageBatch:
    """Multiply by a smooth field from 1 - strength to 1 + strength. Shapes (batch, 1, x, y, z).

    Args:
        images: what to multiply.
        parameters: one draw per item.
        exponential: take the field for the bias's logarithm, so that multiplying and dividing by a factor are equally
            likely (Billot et al. 2023, equation 17).
    """
    field = evaluate_fields([p.bias for p in parameters], _shape(images), images.device)
    return images * (field.exp() if exponential else 1 + field)


def apply_gamma(images: ImageBatch, parameters: list[ArtefactParameters]) -> ImageBatch:
    """Raise images in [0, 1] to the drawn power. Shapes (batch, 1, x, y, z)."""
    powers = images.clamp_min(0) ** column([p.gamma for p in parameters], images.device)
    for item in _without_magnitude(parameters):
        powers[item] = images[item]
    return powers


def clip_to_window(images: ImageBatch, parameters: list[ArtefactParameters]) -> ImageBatch:
    """Clip images that are no magnitudes to [0, 1], in place. Shapes (batch, 1, x, y, z)."""
    for item in _without_magnitude(parameters):
        images[item].clamp_(0, 1)
    return images


def _without_magnitude(parameters: list[ArtefactParameters]) -> list[int]:
    """Return the positions in the batch of images that are not magnitudes."""
    return [item for item, p in enumerate(parameters) if not p.magnitude]


def acquire(images: ImageBatch, parameters: list[ArtefactParameters], spacing_mm: float) -> ImageBatch:
    """Apply motion blur, slice profile, sampling in slices, noise, and interpolation back to the full grid.

    Noise is added to the acquired slices, before interpolation, as a scanner would.

    Args:
        images: (batch, 1, x, y, z) in [0, 1], or any values without magnitude.
        parameters: one draw per item.
        spacing_mm: voxel size of the grid.

    Returns:
        (batch, 1, x, y, z); magnitudes are not negative.
    """
    down, up = [], []
    for axis, size in enumerate(_shape(images)):
        pairs = [_acquisition_matrices(p, axis, size, spacing_mm) for p in parameters]
        down.append(on_device(torch.stack([d for d, _ in pairs]), images.device))
        up.append(on_device(torch.stack([u for _, u in pairs]), images.device))
    return apply_along_axes(rician(apply_along_axes(images, down), parameters), up)


def rician(images: ImageBatch, parameters: list[ArtefactParameters]) -> ImageBatch:
    """Return the magnitude of the signal with complex Gaussian noise: sqrt((s + n1)^2 + n2^2). Shapes (batch, 1, x, y,
    z).

    Without magnitude, the signal with Gaussian noise.
    """
    shape = _shape(images)
    field = evaluate_fields([p.noise_field for p in parameters], shape, images.device)
    level = (1 + field).mul_(column([p.noise_deviation for p in parameters], images.device))
    noise = voxel_noise([p.noise_seed for p in parameters], (2, *shape), images.device).mul_(level)
    signal = noise[:, :1].add_(images)
    magnitude = torch.hypot(signal, noise[:, 1:])
    for item in _without_magnitude(parameters):
        magnitude[item] = signal[item]
    return magnitude


def _acquisition_matrices(
    parameters: ArtefactParameters, axis: int, size: int, spacing_mm: float
) -> tuple[Tensor, Tensor]:
    """Return the blur-and-sample matrix, and the matrix that interpolates back; both (size, size), zero-padded, on the
    CPU.
    """
    device = torch.device("cpu")
    resolution = parameters.resolution_mm[axis]
    motion = gaussian_matrix(size, parameters.motion_fwhm_mm[axis] / spacing_mm, device)
    step = resolution / spacing_mm
    if step <= 1:
        return motion, torch.eye(size)
    blur = gaussian_matrix(size, parameters.thickness_mm[axis] / spacing_mm, device) @ motion
    slices = int((size - 1 - parameters.phase[axis] * step) // step) + 1
    positions = parameters.phase[axis] * step + step * torch.arange(slices)
    down, up = torch.zeros(size, size), torch.zeros(size, size)
    down[:slices] = linear_matrix(positions, size) @ blur
    back = (torch.arange(size) - positions[0]) / step
    up[:, :slices] = linear_matrix(back, slices)
    return down, up


def _shape(images: Tensor) -> tuple[int, int, int]:
    """Return the spatial shape."""
    x, y, z = images.shape[2:]
    return x, y, z
