"""Smooth random fields, and linear operations along the axes of a volume, as small dense matrices."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from strokelabel.synthesis.sampling import Sampler, on_device, pad_stack

_FWHM_TO_SIGMA = 1 / (2 * math.sqrt(2 * math.log(2)))


def linear_matrix(positions: Tensor, size: int) -> Tensor:
    """Return the matrix of linear interpolation at fractional positions of an axis with `size` points, edges held."""
    positions = positions.clamp(0, size - 1)
    distance = (positions[:, None] - torch.arange(size, device=positions.device)[None]).abs()
    return (1 - distance).clamp_min(0)


@lru_cache(maxsize=256)
def averaging_matrix(source: int, target: int) -> Tensor:
    """Return the matrix of means over equal parts of an axis: (target, source), rows summing to one.

    Unlike adaptive pooling, parts that cut a source voxel take their exact share of it, so that nothing moves.
    """
    edges = torch.arange(target + 1) * (source / target)
    voxels = torch.arange(source)
    overlap = torch.minimum(edges[1:, None], voxels + 1) - torch.maximum(edges[:-1, None], voxels)
    return overlap.clamp_min(0) * (target / source)


def gaussian_matrix(size: int, fwhm: float, device: torch.device) -> Tensor:
    """Return the (size, size) matrix of a convolution with a Gaussian, whose rows sum to one; the identity for fwhm 0.

    Made on the CPU, since a GPU takes longer to be told each operation on so few numbers.
    """
    sigma = fwhm * _FWHM_TO_SIGMA
    if sigma < 0.1:
        return torch.eye(size, device=device)
    positions = torch.arange(size, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((positions[:, None] - positions[None]) / sigma) ** 2)
    return on_device(weights / weights.sum(dim=1, keepdim=True), device)


def apply_along_axes(images: Tensor, matrices: list[Tensor]) -> Tensor:
    """Multiply each spatial axis by its own matrix.

    Args:
        images: (batch, 1, x, y, z).
        matrices: three of (batch, m, n), from n voxels to m; a batch of one serves all images.

    Returns:
        (batch, 1, X, Y, Z).
    """
    batch, _, nx, ny, nz = images.shape
    out = torch.matmul(matrices[0], images.reshape(batch, nx, ny * nz)).view(batch, -1, ny, nz)
    out = torch.matmul(matrices[1].unsqueeze(1), out)
    out = torch.matmul(out, matrices[2].transpose(1, 2).unsqueeze(1))
    return out.unsqueeze(1)


_SAMPLES_PER_INTERVAL = 6
"""Density of the samples in which extremes of a field are sought: what lies between exceeds them by less than 2 %."""


def spline_basis(nodes: int, size: int, device: torch.device | None = None) -> Tensor:
    """Return the matrix from values at nodes to an interpolating cubic spline; its rows sum to one.

    Args:
        nodes: along the axis, at least 2, spread from the first voxel to the last.
        size: voxels along the axis.
        device: where to put the matrix.

    Returns:
        (size, nodes) matrix.
    """
    basis = _b_spline(nodes, size) @ _coefficients(nodes)
    return basis if device is None else on_device(basis, device)


@lru_cache(maxsize=64)
def _coefficients(nodes: int) -> Tensor:
    """Return the matrix from values at the nodes to the coefficients of the B-splines that pass through them."""
    return torch.linalg.inv(_b_spline(nodes, nodes).double()).float()


@lru_cache(maxsize=256)
def _b_spline(nodes: int, size: int) -> Tensor:
    """Return the uniform cubic B-spline basis, edge coefficients repeated: (size, nodes), rows summing to one."""
    positions = torch.linspace(0, nodes - 1, size)
    first = positions.floor().clamp(max=nodes - 2)
    t = positions - first
    weights = torch.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1)
    columns = (first.long()[:, None] + torch.arange(-1, 3)).clamp(0, nodes - 1)
    return torch.zeros(size, nodes).scatter_add_(1, columns, weights / 6)


def sample_nodes(sampler: Sampler, nodes: tuple[int, int], channels: int = 1) -> Tensor:
    """Sample values at a random number of nodes per axis, uniform in [-1, 1], of fields that stay within that range.

    Splines overshoot between nodes; where one would exceed the largest of its values, all of them are scaled down, so
    that the largest value is the extreme of the field.

    Returns:
        (channels, kx, ky, kz).
    """
    counts = [sampler.integer(nodes[0], nodes[1]) for _ in range(3)]
    values = sampler.uniform_tensor((channels, *counts), -1.0, 1.0)
    x, y, z = (_SAMPLES_PER_INTERVAL * (n - 1) + 1 for n in counts)
    reached = evaluate_fields([values], (x, y, z), values.device)[0].abs().amax(dim=(1, 2, 3))
    return values * (values.abs().amax(dim=(1, 2, 3)) / reached.clamp_min(1e-6)).view(-1, 1, 1, 1)


def evaluate_fields(nodes: list[Tensor], shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """Evaluate one grid of node values per batch item on a voxel grid.

    Args:
        nodes: per item (channels, kx, ky, kz); the node counts may differ between items.
        shape: voxels of the result.
        device: where to compute.

    Returns:
        (batch, channels, x, y, z).
    """
    values = on_device(pad_stack(nodes), device)
    x, y, z = (
        on_device(pad_stack([spline_basis(item.shape[axis + 1], shape[axis]) for item in nodes]), device)
        for axis in range(3)
    )
    # One axis after another, the voxels last: the intermediate volumes stay small.
    batch, channels, *_ = values.shape
    out = torch.matmul(x.unsqueeze(1), values.flatten(3)).unflatten(3, values.shape[3:])
    out = torch.matmul(y.view(batch, 1, 1, *y.shape[1:]), out)
    return torch.matmul(out, z.transpose(1, 2).view(batch, 1, 1, z.shape[2], z.shape[1])).view(
        batch, channels, *shape
    )
