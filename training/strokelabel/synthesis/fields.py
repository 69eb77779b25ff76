"""Smooth random fields: cubic splines through a few nodes, evaluated as one small matrix product per axis.

A uniform B-spline over control values stays far inside their range (a field of values in [-1, 1] reaches a third to
two thirds of it). These splines interpolate: they pass through the values at the nodes, so that a field is as strong as
the setting that it was drawn with says.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from strokelabel.synthesis.sampling import Sampler, on_device, pad_stack

_SAMPLES_PER_INTERVAL = 6
"""Density of the samples in which extremes of a field are sought: what lies between exceeds them by less than 2 %."""


def spline_basis(nodes: int, size: int, device: torch.device | None = None) -> Tensor:
    """Matrix from values at nodes to an interpolating cubic spline; its rows sum to one.

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
    """Matrix from values at the nodes to the coefficients of the B-splines that pass through them."""
    return torch.linalg.inv(_b_spline(nodes, nodes).double()).float()


@lru_cache(maxsize=256)
def _b_spline(nodes: int, size: int) -> Tensor:
    """Uniform cubic B-spline basis, edge coefficients repeated: (size, nodes), rows summing to one."""
    positions = torch.linspace(0, nodes - 1, size)
    first = positions.floor().clamp(max=nodes - 2)
    t = positions - first
    weights = torch.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1)
    columns = (first.long()[:, None] + torch.arange(-1, 3)).clamp(0, nodes - 1)
    return torch.zeros(size, nodes).scatter_add_(1, columns, weights / 6)


def sample_nodes(sampler: Sampler, nodes: tuple[int, int], channels: int = 1) -> Tensor:
    """Values at a random number of nodes per axis, uniform in [-1, 1], of fields that stay within that range.

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
