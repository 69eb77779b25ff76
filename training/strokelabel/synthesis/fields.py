"""Smooth random fields, and linear operations along the axes of a volume, as small dense matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from strokelabel.synthesis.sampling import Sampler, on_device, pad_stack, voxel_noise

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


_COARSE_MM = 2.0
_SIGMA_TO_FWHM = 2.3548


class CoarseGrid:
    """Field of view of an image in coarse voxels, or in the image's own where those are larger.

    Args:
        shape: voxels of the image.
        spacing_mm: voxel size of the image.
        device: where to compute.
        coarse_mm: about the size of the coarse voxels.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        spacing_mm: float,
        device: torch.device,
        coarse_mm: float = _COARSE_MM,
    ) -> None:
        factor = max(1.0, coarse_mm / spacing_mm)
        x, y, z = (max(2, round(n / factor)) for n in shape)
        self.full = shape
        self.full_spacing_mm = spacing_mm
        self.shape = (x, y, z)
        self.spacing_mm = spacing_mm * shape[0] / x
        self.device = device

    def down(self, volume: Tensor) -> Tensor:
        """Average (batch, 1, *full) to (batch, 1, *coarse)."""
        if self.shape == self.full:
            return volume
        pairs = zip(self.full, self.shape, strict=True)
        return apply_along_axes(
            volume, [on_device(averaging_matrix(n, m), self.device)[None] for n, m in pairs]
        )

    def up(self, volume: Tensor, region: tuple[slice, slice, slice] | None = None) -> Tensor:
        """Interpolate (batch, c, *coarse) to (batch, c, *full), or to a box of that."""
        region = region or (slice(None), slice(None), slice(None))
        if self.shape == self.full:
            return volume[(..., *region)]
        axes = zip(self.shape, self.full, region, strict=True)
        matrices = [linear_matrix(self._centre_positions(n, m)[part], n)[None] for n, m, part in axes]
        moved = apply_along_axes(volume.flatten(0, 1).unsqueeze(1), matrices)
        return moved.view(*volume.shape[:2], *moved.shape[2:])

    def points(self, coordinates: Tensor) -> Tensor:
        """Return the positions (batch, *full, 3) at the coarse voxels' centres, (batch, 3, *coarse)."""
        if self.shape == self.full:
            return coordinates.permute(0, 4, 1, 2, 3)
        for axis, (n, m) in enumerate(zip(self.full, self.shape, strict=True), start=1):
            centres = self._centre_positions(n, m)
            before = centres.floor().long()
            first = coordinates.index_select(axis, before)
            second = coordinates.index_select(axis, (before + 1).clamp(max=n - 1))
            share = (centres - before).view([-1 if i == axis else 1 for i in range(5)])
            coordinates = torch.lerp(first, second, share)
        return coordinates.permute(0, 4, 1, 2, 3)

    def _centre_positions(self, source: int, target: int) -> Tensor:
        """Return the positions of the centres of other voxels along an axis of so many voxels, edges held,
        (target,).
        """
        centres = (torch.arange(target, device=self.device) + 0.5) * (source / target) - 0.5
        return centres.clamp_(0, source - 1)

    def blur(
        self, volume: Tensor, sigmas_mm: Sequence[float], stretch_y: Sequence[float] | None = None
    ) -> Tensor:
        """Blur by a Gaussian, with its own width for each batch item.

        Args:
            volume: (batch, 1, *coarse).
            sigmas_mm: one standard deviation per item.
            stretch_y: factor on it along y (back to front), one per item.
        """
        widths = list(zip(sigmas_mm, stretch_y or [1.0] * len(sigmas_mm), strict=True))
        kernels = [
            torch.stack([self._kernel(n, s * (k if axis == 1 else 1.0)) for s, k in widths])
            for axis, n in enumerate(self.shape)
        ]
        return apply_along_axes(volume, kernels)

    def noise(self, seeds: Sequence[int], sigmas_mm: Sequence[float]) -> Tensor:
        """Smooth Gaussian noise of unit variance, (batch, 1, *coarse)."""
        white = voxel_noise(seeds, (1, *self.shape), self.device)
        kernels = []
        for n in self.shape:
            rows = torch.stack([self._kernel(n, sigma) for sigma in sigmas_mm])
            kernels.append(rows / rows.square().sum(dim=2, keepdim=True).sqrt())
        return apply_along_axes(white, kernels)

    def _kernel(self, size: int, sigma_mm: float) -> Tensor:
        return gaussian_matrix(size, _SIGMA_TO_FWHM * sigma_mm / self.spacing_mm, self.device)


def ramp(values: Tensor, start: Tensor | float, width: float) -> Tensor:
    """Rise from 0 at `start` to 1 at `start + width`, without a kink."""
    t = ((values - start) / width).clamp(0, 1)
    return t * t * (3 - 2 * t)
