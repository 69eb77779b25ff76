"""Draw of the masks of a bank, and of positions: a smoothed, symmetric density of the bank's masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.synthesis.lesions.bank import LesionBank
from strokelabel.synthesis.sampling import Sampler

_CELL = 5
"""Voxels of the bank (1 mm) along each side of a cell; odd, so that the middle cells lie on the midline."""
_FWHM_TO_SIGMA = 1 / 2.3548


@dataclass(frozen=True)
class SpatialPrior:
    """A density on a coarse grid in ICBM space.

    Attributes:
        density: (x, y, z), summing to one, the same left and right.
        origin_mm: (3,) ICBM position of the lower corner of the first cell.
        cell_mm: side of a cell.
    """

    density: NDArray[np.float64]
    origin_mm: tuple[float, float, float]
    cell_mm: float

    @classmethod
    def from_bank(cls, bank: LesionBank, smoothing_mm: float) -> SpatialPrior:
        """Count the masks of a bank (at least one), smooth the count and make it symmetric.

        Args:
            bank: masks on the ICBM 1 mm grid.
            smoothing_mm: full width at half maximum of the kernel.
        """
        spacing = float(abs(bank.affine[0, 0]))
        first = _first_cell_voxel(bank)
        cells = [2 * ((round(-bank.affine[0, 3] / bank.affine[0, 0]) - first[0]) // _CELL) + 1]
        cells += [-(-bank.grid_shape[axis] // _CELL) for axis in (1, 2)]
        density = np.zeros(cells)
        for index in range(len(bank)):
            _add_mask(density, bank.crop(index), np.array(bank.offset(index)) - first)
        density += density[::-1]
        smooth = ndimage.gaussian_filter(density, smoothing_mm * _FWHM_TO_SIGMA / (_CELL * spacing))
        corner = bank.affine[:3, :3] @ (first - 0.5) + bank.affine[:3, 3]
        x, y, z = (float(value) for value in corner)
        return cls(smooth / smooth.sum(), (x, y, z), _CELL * spacing)

    def positions(self, sampler: Sampler, count: int) -> NDArray[np.float64]:
        """Draw positions.

        Returns:
            (count, 3) ICBM mm.
        """
        cumulative = np.cumsum(self.density)
        chances = sampler.uniform_tensor((count,), 0.0, 1.0).double().numpy() * cumulative[-1]
        flat = np.searchsorted(cumulative, chances, side="right").clip(max=cumulative.size - 1)
        cells = np.stack(np.unravel_index(flat, self.density.shape), axis=1)
        within = sampler.uniform_tensor((count, 3), 0.0, 1.0).numpy()
        result: NDArray[np.float64] = np.array(self.origin_mm) + self.cell_mm * (cells + within)
        return result


def _first_cell_voxel(bank: LesionBank) -> NDArray[np.int_]:
    """Return the voxel at the lower corner of the first cell: cells along x are centred on the midline and reach over
    the grid.
    """
    midline = round(-bank.affine[0, 3] / bank.affine[0, 0])
    half = max(midline, bank.grid_shape[0] - 1 - midline)
    return np.array([midline - _CELL // 2 - _CELL * -(-half // _CELL), 0, 0])


def _add_mask(density: NDArray[np.float64], mask: NDArray[np.bool_], start: NDArray[np.int_]) -> None:
    """Add a mask, weighted to one, to the cells that it lies in.

    Args:
        density: (x, y, z) cells, changed in place.
        mask: (x, y, z) voxels.
        start: voxels from the first cell's corner to the mask's first voxel.
    """
    before = start % _CELL
    after = [-(int(b) + n) % _CELL for b, n in zip(before, mask.shape, strict=True)]
    padded = np.pad(mask, list(zip(before, after, strict=True)))
    x, y, z = (n // _CELL for n in padded.shape)
    blocks = padded.view(np.uint8)
    for axis, count in enumerate((x, y, z)):  # axis by axis is many times faster than all at once
        blocks = np.add.reduceat(blocks, np.arange(count) * _CELL, axis=axis, dtype=np.int32)
    i, j, k = (int(s) // _CELL for s in start)
    density[i : i + x, j : j + y, k : k + z] += blocks / np.count_nonzero(mask)


_BINS = 12


class BalancedSelection:
    """Selection of masks with a flattened distribution of log-volume.

    Args:
        volumes_ml: (n,) of the masks, n at least 1.
        balance: 0 draws every mask equally often; 1 draws every occupied bin of log-volume equally often.
    """

    def __init__(self, volumes_ml: NDArray[np.float64], balance: float) -> None:
        logarithms = np.log(np.maximum(volumes_ml, 1e-3))
        edges = np.histogram_bin_edges(logarithms, _BINS)
        bins = np.digitize(logarithms, edges[1:-1])
        weights = np.bincount(bins, minlength=_BINS)[bins].astype(float) ** -balance
        self.probabilities = weights / weights.sum()
        self._cumulative = np.cumsum(self.probabilities)

    def draw(self, sampler: Sampler) -> int:
        """Draw the index of one mask."""
        chance = sampler.uniform((0.0, 1.0)) * self._cumulative[-1]
        found = int(np.searchsorted(self._cumulative, chance, side="right"))
        return min(found, len(self._cumulative) - 1)


def masks_between(bank: LesionBank, low_ml: float, high_ml: float) -> NDArray[np.int_]:
    """Return the indices of the masks with a volume in this range."""
    return np.flatnonzero((bank.volumes_ml >= low_ml) & (bank.volumes_ml <= high_ml))
