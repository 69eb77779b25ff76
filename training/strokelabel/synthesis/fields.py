"""Smooth random fields: cubic B-splines over a few control nodes, evaluated as one small matrix product per axis."""

from __future__ import annotations

import torch
from torch import Tensor

from strokelabel.synthesis.sampling import Sampler, pad_stack


def spline_basis(nodes: int, size: int, device: torch.device | None = None) -> Tensor:
    """Uniform cubic B-spline basis, edge nodes repeated, rows summing to one.

    Args:
        nodes: control nodes along the axis, at least 2, spread from the first voxel to the last.
        size: voxels along the axis.
        device: where to put the matrix.

    Returns:
        (size, nodes) matrix.
    """
    positions = torch.linspace(0, nodes - 1, size, device=device)
    first = positions.floor().clamp(max=nodes - 2)
    t = positions - first
    weights = (
        torch.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], dim=1)
        / 6
    )
    columns = (first.long()[:, None] + torch.arange(-1, 3, device=device)).clamp(0, nodes - 1)
    return torch.zeros(size, nodes, device=device).scatter_add_(1, columns, weights)


def sample_nodes(sampler: Sampler, nodes: tuple[int, int], channels: int = 1) -> Tensor:
    """Control values, uniform in [-1, 1], on a grid with a random number of nodes per axis.

    Returns:
        (channels, kx, ky, kz).
    """
    counts = [sampler.integer(nodes[0], nodes[1]) for _ in range(3)]
    return sampler.uniform_tensor((channels, *counts), -1.0, 1.0)


def evaluate_fields(controls: list[Tensor], shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """Evaluate one control grid per batch item on a voxel grid.

    Args:
        controls: per item (channels, kx, ky, kz); the node counts may differ between items.
        shape: voxels of the result.
        device: where to compute.

    Returns:
        (batch, channels, x, y, z), within the range of the control values.
    """
    values = pad_stack(controls).to(device)
    bases = [
        pad_stack([spline_basis(c.shape[axis + 1], shape[axis]) for c in controls]).to(device)
        for axis in range(3)
    ]
    return torch.einsum("bcijk,bxi,byj,bzk->bcxyz", values, *bases)
