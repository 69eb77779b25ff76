"""Smooth fields on a coarse grid over the image: what shapes lesions from inside needs no finer voxels than 2 mm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from strokelabel.synthesis.axes import apply_along_axes, averaging_matrix, gaussian_matrix
from strokelabel.synthesis.sampling import voxel_noise

_COARSE_MM = 2.0
_SIGMA_TO_FWHM = 2.3548


class CoarseGrid:
    """The image's field of view in voxels of about 2 mm, or in the image's own where those are larger.

    Args:
        shape: voxels of the image.
        spacing_mm: voxel size of the image.
        device: where to compute.
    """

    def __init__(self, shape: tuple[int, int, int], spacing_mm: float, device: torch.device) -> None:
        factor = max(1.0, _COARSE_MM / spacing_mm)
        x, y, z = (max(2, round(n / factor)) for n in shape)
        self.full = shape
        self.shape = (x, y, z)
        self.spacing_mm = spacing_mm * shape[0] / x
        self.device = device

    def down(self, volume: Tensor) -> Tensor:
        """(batch, 1, *full) averaged to (batch, 1, *coarse)."""
        if self.shape == self.full:
            return volume
        pairs = zip(self.full, self.shape, strict=True)
        return apply_along_axes(volume, [averaging_matrix(n, m).to(self.device)[None] for n, m in pairs])

    def up(self, volume: Tensor) -> Tensor:
        """(batch, c, *coarse) interpolated to (batch, c, *full)."""
        if self.shape == self.full:
            return volume
        return F.interpolate(volume, size=self.full, mode="trilinear", align_corners=False)

    def points(self, coordinates: Tensor) -> Tensor:
        """Positions (batch, *full, 3) at the coarse voxels' centres, (batch, 3, *coarse)."""
        channels = coordinates.permute(0, 4, 1, 2, 3)
        if self.shape == self.full:
            return channels
        return F.interpolate(channels, size=self.shape, mode="trilinear", align_corners=False)

    def blur(
        self, volume: Tensor, sigmas_mm: Sequence[float], stretch_y: Sequence[float] | None = None
    ) -> Tensor:
        """Gaussian blur, of its own width for each batch item.

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
    """Rises from 0 at `start` to 1 at `start + width`, without a kink."""
    t = ((values - start) / width).clamp(0, 1)
    return t * t * (3 - 2 * t)
