"""Smooth fields on a coarse grid over the image: what shapes lesions from inside needs no finer voxels than 2 mm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from strokelabel.synthesis.fields import apply_along_axes, averaging_matrix, gaussian_matrix, linear_matrix
from strokelabel.synthesis.sampling import on_device, voxel_noise

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
