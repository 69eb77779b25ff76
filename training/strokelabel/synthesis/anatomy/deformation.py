"""Affine and diffeomorphic deformation: where in the head's own space each voxel of the image is taken from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from strokelabel.synthesis.config import DeformationConfig
from strokelabel.synthesis.fields import apply_along_axes, evaluate_fields, linear_matrix, sample_nodes
from strokelabel.synthesis.sampling import Sampler, on_device

_COARSE_VOXELS = 32
"""Velocity fields are integrated on a grid of at most this many points per axis; they are smoother than that."""
_SQUARINGS = 5


@dataclass(frozen=True)
class DeformationParameters:
    """One draw. Angles in degrees; displacement and translation in mm; axes x, y, z (RAS)."""

    rotation_degrees: tuple[float, float, float]
    shear: tuple[float, float, float]
    zoom: tuple[float, float, float]
    translation_mm: tuple[float, float, float]
    flip: tuple[bool, bool, bool]
    velocity_mm: Tensor
    """(3, kx, ky, kz) node values of the stationary velocity field."""


def sample_deformation(
    sampler: Sampler, config: DeformationConfig, field_of_view_mm: tuple[float, float, float]
) -> DeformationParameters:
    """Draw a deformation."""
    amplitude = sampler.uniform(config.elastic_fraction) * torch.tensor(field_of_view_mm)

    def three(bounds: tuple[float, float]) -> tuple[float, float, float]:
        return sampler.uniform(bounds), sampler.uniform(bounds), sampler.uniform(bounds)

    x, y, z = config.flip_probability
    return DeformationParameters(
        rotation_degrees=three(config.rotation_degrees),
        shear=three(config.shear),
        zoom=three(config.zoom),
        translation_mm=three(config.translation_mm),
        flip=(sampler.flip(x), sampler.flip(y), sampler.flip(z)),
        velocity_mm=sample_nodes(sampler, config.elastic_nodes, channels=3) * amplitude.view(3, 1, 1, 1),
    )


def affine_matrix(parameters: DeformationParameters) -> Tensor:
    """Return the 3 x 3 matrix from image mm to head mm: rotation, shear, zoom, then flips."""
    a, b, c = (math.radians(angle) for angle in parameters.rotation_degrees)
    rx = torch.tensor([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    ry = torch.tensor([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    rz = torch.tensor([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    sxy, sxz, syz = parameters.shear
    shear = torch.tensor([[1, sxy, sxz], [0, 1, syz], [0, 0, 1]])
    zoom = torch.diag(1 / torch.tensor(parameters.zoom))
    mirror = torch.diag(torch.tensor([-1.0 if f else 1.0 for f in parameters.flip]))
    return mirror @ rz @ ry @ rx @ shear @ zoom


def head_coordinates(
    parameters: list[DeformationParameters],
    centers_mm: Tensor,
    shape: tuple[int, int, int],
    spacing_mm: float,
    subjects: list[DeformationParameters] | None = None,
) -> Tensor:
    """Return the world position in the undeformed head of each voxel of the deformed image.

    Args:
        parameters: one draw per batch item.
        centers_mm: (batch, 3) point of the head (RAS mm) that lies at the image's centre, translation apart.
        shape: voxels of the image.
        spacing_mm: voxel size of the image.
        subjects: deformations that make other heads of the heads first, one per item; None for the heads as they are.

    Returns:
        (batch, x, y, z, 3) RAS coordinates in mm.
    """
    if subjects:
        in_view = head_coordinates(parameters, torch.zeros_like(centers_mm), shape, spacing_mm)
        return _of_subjects(subjects, in_view, centers_mm, shape, spacing_mm)
    device = centers_mm.device
    matrices = on_device(torch.stack([affine_matrix(p) for p in parameters]), device)
    shifts = on_device(torch.tensor([p.translation_mm for p in parameters]), device) + centers_mm
    axes = [(torch.arange(n, device=device) - (n - 1) / 2) * spacing_mm for n in shape]
    # An affine map of a regular grid is a sum of one vector per axis: no grid of positions is multiplied.
    terms = [
        (matrices[:, :, i].unsqueeze(1) * axis.view(1, -1, 1)).view(len(parameters), *_at(i, len(axis)), 3)
        for i, axis in enumerate(axes)
    ]
    affine = terms[0] + terms[1] + terms[2] + shifts.view(-1, 1, 1, 1, 3)
    return affine + displacement([p.velocity_mm for p in parameters], shape, spacing_mm, device)


def _of_subjects(
    subjects: list[DeformationParameters],
    positions: Tensor,
    centers_mm: Tensor,
    shape: tuple[int, int, int],
    spacing_mm: float,
) -> Tensor:
    """Return what `head_coordinates` of the subjects gives, at positions between the voxels.

    Args:
        subjects: one per item.
        positions: (batch, x, y, z, 3) in mm from the middle of the image.
        centers_mm, shape, spacing_mm: as `head_coordinates`.
    """
    device = centers_mm.device
    field = displacement([p.velocity_mm for p in subjects], shape, spacing_mm, device)
    extent = on_device(torch.tensor([(n - 1) * spacing_mm for n in shape]), device)
    shifts = F.grid_sample(
        field.permute(0, 4, 1, 2, 3),
        (2 * positions / extent).flip(-1),
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    matrices = on_device(torch.stack([affine_matrix(p) for p in subjects]), device)
    offsets = on_device(torch.tensor([p.translation_mm for p in subjects]), device) + centers_mm
    affine = torch.baddbmm(offsets.unsqueeze(1), positions.flatten(1, 3), matrices.transpose(1, 2))
    return affine.view_as(positions) + shifts.permute(0, 2, 3, 4, 1)


def _at(axis: int, size: int) -> tuple[int, int, int]:
    """Return the shape that broadcasts a vector along one of three axes."""
    x, y, z = (size if i == axis else 1 for i in range(3))
    return x, y, z


def displacement(
    velocities_mm: list[Tensor], shape: tuple[int, int, int], spacing_mm: float, device: torch.device
) -> Tensor:
    """Return the displacement of the diffeomorphism that a stationary velocity field generates (scaling and squaring).

    Args:
        velocities_mm: per item (3, kx, ky, kz) node values.
        shape: voxels of the image.
        spacing_mm: voxel size.
        device: where to compute.

    Returns:
        (batch, x, y, z, 3) in mm.
    """
    if not any(bool(velocity.any()) for velocity in velocities_mm):
        return torch.zeros(len(velocities_mm), *shape, 3, device=device)
    x, y, z = (min(n, _COARSE_VOXELS) for n in shape)
    coarse = (x, y, z)
    extent = on_device(torch.tensor([(n - 1) * spacing_mm for n in shape]), device)
    field = evaluate_fields(velocities_mm, coarse, device) / 2**_SQUARINGS
    to_unit = (2 / extent).view(1, 3, 1, 1, 1)
    for _ in range(_SQUARINGS):
        field = field + _warp(field, field * to_unit)
    ends = [
        linear_matrix(torch.linspace(0, n - 1, m, device=device), n)[None]
        for n, m in zip(coarse, shape, strict=True)
    ]
    full = apply_along_axes(field.flatten(0, 1).unsqueeze(1), ends)
    return full.view(len(velocities_mm), 3, *shape).permute(0, 2, 3, 4, 1)


def _warp(volume: Tensor, offset: Tensor) -> Tensor:
    """Sample (batch, c, x, y, z) at each voxel plus an offset in units of half the extent."""
    axes = [torch.linspace(-1, 1, n, device=volume.device) for n in volume.shape[2:]]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) + offset.permute(0, 2, 3, 4, 1)
    return F.grid_sample(volume, grid.flip(-1), mode="bilinear", padding_mode="border", align_corners=True)


def sample_volume(
    volume: Tensor,
    coordinates: Tensor,
    matrix: Tensor,
    offset: Tensor,
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> Tensor:
    """Interpolate volumes at world coordinates, linearly by default; zero outside.

    Args:
        volume: (batch, c, x, y, z).
        coordinates: (batch, X, Y, Z, 3) in mm.
        matrix: (batch, 3, 3) from mm to voxel index.
        offset: (batch, 3) voxel index of the origin.
        mode: "bilinear" is torch's word for linear interpolation, in three dimensions too.

    Returns:
        (batch, c, X, Y, Z).
    """
    sizes = on_device(torch.tensor(volume.shape[2:], dtype=torch.float32), volume.device)
    scale = 2 / (sizes - 1)
    # Fold the change to grid_sample's [-1, 1] and its reversed axis order into the matrix.
    matrix = (matrix * scale.view(1, 3, 1)).flip(1)
    offset = (offset * scale - 1).flip(1)
    points = coordinates.flatten(1, 3)
    grid = torch.baddbmm(offset.unsqueeze(1), points, matrix.transpose(1, 2)).view_as(coordinates)
    return F.grid_sample(volume, grid, mode=mode, padding_mode="zeros", align_corners=True)
