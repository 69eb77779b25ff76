"""Positions of small lesions, drawn by a spatial prior: single ones, and embolic showers.

The prior is a smoothed, symmetric density of the bank's masks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.synthesis.config import EmbolicConfig, LesionConfig
from strokelabel.synthesis.lesions.bank import BLOB, Fragment, LesionBank
from strokelabel.synthesis.lesions.lesion import LesionDraw, LesionParameters
from strokelabel.synthesis.lesions.stage import sample_penumbra
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


_TERRITORY_ML = 20.0
"""Masks of at least this volume stand for an arterial territory."""

_Positions = Callable[[int], NDArray[np.float64]]


class LesionArranger:
    """Replaces the lesions of a head by others of the bank, or moves them, as the recipe's switches say.

    Args:
        bank: the masks that `LesionParameters` point into, at least one.
        config: switches `volume_balance`, `spatial_prior` and `embolic`.
    """

    def __init__(self, bank: LesionBank, config: LesionConfig) -> None:
        self.bank = bank
        self.config = config

    @cached_property
    def prior(self) -> SpatialPrior:
        """Density of the bank's masks; counted at first use."""
        return SpatialPrior.from_bank(self.bank, self.config.spatial_prior.smoothing_mm)

    @cached_property
    def _selection(self) -> BalancedSelection:
        return BalancedSelection(self.bank.volumes_ml, self.config.volume_balance)

    @cached_property
    def _territories(self) -> NDArray[np.int_]:
        large = masks_between(self.bank, _TERRITORY_ML, math.inf)
        return large if len(large) else np.arange(len(self.bank))

    @cached_property
    def _small(self) -> NDArray[np.int_]:
        return masks_between(self.bank, *self.config.embolic.volume_ml)

    def arrange(self, sampler: Sampler, lesions: LesionParameters) -> LesionParameters:
        """Draw what the switches change; a head without lesions keeps none."""
        if not lesions.draws:
            return lesions
        if self.config.volume_balance > 0:
            draws = tuple(replace(d, index=self._selection.draw(sampler)) for d in lesions.draws)
            lesions = replace(lesions, draws=draws)
        if self.config.spatial_prior.probability > 0:
            lesions = self._move_small(sampler, lesions)
        embolic = self.config.embolic
        if embolic.probability > 0 and sampler.flip(embolic.probability):
            keep = sampler.flip(embolic.keep_probability)
            kept = lesions if keep else replace(lesions, draws=(), fragments=())
            lesions = replace(kept, fragments=kept.fragments + self._shower(sampler, embolic))
        return lesions

    def _move_small(self, sampler: Sampler, lesions: LesionParameters) -> LesionParameters:
        """Move some of the small masks to positions of the prior."""
        prior = self.config.spatial_prior
        stay: list[LesionDraw] = []
        moved: list[Fragment] = []
        for draw in lesions.draws:
            volume = float(self.bank.volumes_ml[draw.index])
            if volume > prior.maximum_volume_ml or not sampler.flip(prior.probability):
                stay.append(draw)
                continue
            center = _three(self.prior.positions(sampler, 1)[0])
            edge = draw.blur_sigma_voxels, draw.penumbra
            moved.append(Fragment(draw.index, 0, volume, draw.mirror, center, *edge))
        return replace(lesions, draws=tuple(stay), fragments=lesions.fragments + tuple(moved))

    def _shower(self, sampler: Sampler, config: EmbolicConfig) -> tuple[Fragment, ...]:
        """Draw several small lesions at once."""
        count = sampler.integer(*config.count)
        centers = self._positions_of_shower(sampler, config)(count)
        low, high = (math.log(volume) for volume in config.volume_ml)
        fragments = []
        for center in centers:
            volume = math.exp(sampler.uniform((low, high)))
            index = BLOB
            if len(self._small) and not sampler.flip(config.blob_probability):
                index = self._nearest_small(volume)
            fragments.append(
                Fragment(
                    index,
                    sampler.seed(),
                    volume,
                    sampler.flip(0.5),
                    _three(center),
                    sampler.uniform(self.config.blur_sigma_voxels),
                    sample_penumbra(sampler, self.config),
                )
            )
        return tuple(fragments)

    def _nearest_small(self, volume_ml: float) -> int:
        """Return the small mask whose volume is nearest."""
        volumes = self.bank.volumes_ml[self._small]
        return int(self._small[np.abs(np.log(volumes / volume_ml)).argmin()])

    def _positions_of_shower(self, sampler: Sampler, config: EmbolicConfig) -> _Positions:
        """Return the positions of the shower."""
        extents = list(config.extent_weights)
        extent = extents[sampler.choice([config.extent_weights[e] for e in extents])]
        if extent == "territory":
            chosen = int(self._territories[sampler.integer(0, len(self._territories) - 1)])
            return lambda count: self._positions_in_mask(sampler, chosen, count)
        if extent == "hemisphere":
            side = -1.0 if sampler.flip(0.5) else 1.0
            return lambda count: _on_side(self.prior.positions(sampler, count), side)
        return lambda count: self.prior.positions(sampler, count)

    def _positions_in_mask(self, sampler: Sampler, index: int, count: int) -> NDArray[np.float64]:
        """Return the positions inside one mask, on a random side. (count, 3) ICBM mm."""
        voxels = np.argwhere(self.bank.crop(index)) + self.bank.offsets[index]
        chosen = np.array([sampler.integer(0, len(voxels) - 1) for _ in range(count)])
        positions = voxels[chosen] @ self.bank.affine[:3, :3].T + self.bank.affine[:3, 3]
        return positions * [-1.0, 1.0, 1.0] if sampler.flip(0.5) else positions


def _on_side(positions: NDArray[np.float64], side: float) -> NDArray[np.float64]:
    """Return the positions (n, 3) reflected onto one side; the prior is symmetric, so this is the prior of
    that side.
    """
    reflected = positions.copy()
    reflected[:, 0] = side * np.abs(positions[:, 0])
    return reflected


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
