"""Positions of small lesions: single ones by the spatial prior, and embolic showers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from strokelabel.synthesis.config import EmbolicConfig, LesionConfig
from strokelabel.synthesis.lesions.bank import BLOB, Fragment, LesionBank
from strokelabel.synthesis.lesions.lesion import LesionDraw, LesionParameters
from strokelabel.synthesis.lesions.prior import BalancedSelection, SpatialPrior, masks_between
from strokelabel.synthesis.lesions.stage import sample_penumbra
from strokelabel.synthesis.sampling import Sampler

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
