"""Linear operations along the axes of a volume, as small dense matrices."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from strokelabel.synthesis.sampling import on_device

_FWHM_TO_SIGMA = 1 / (2 * math.sqrt(2 * math.log(2)))


def linear_matrix(positions: Tensor, size: int) -> Tensor:
    """Linear interpolation at fractional positions of an axis with `size` points, edges held."""
    positions = positions.clamp(0, size - 1)
    distance = (positions[:, None] - torch.arange(size, device=positions.device)[None]).abs()
    return (1 - distance).clamp_min(0)


@lru_cache(maxsize=256)
def averaging_matrix(source: int, target: int) -> Tensor:
    """Mean over equal parts of an axis: (target, source), rows summing to one.

    Unlike adaptive pooling, parts that cut a source voxel take their exact share of it, so that nothing moves.
    """
    edges = torch.arange(target + 1) * (source / target)
    voxels = torch.arange(source)
    overlap = torch.minimum(edges[1:, None], voxels + 1) - torch.maximum(edges[:-1, None], voxels)
    return overlap.clamp_min(0) * (target / source)


def gaussian_matrix(size: int, fwhm: float, device: torch.device) -> Tensor:
    """Convolution with a Gaussian as a (size, size) matrix whose rows sum to one; the identity for fwhm 0.

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
