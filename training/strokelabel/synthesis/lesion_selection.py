"""Which masks of a bank are drawn: as often as they occur, or small and large ones equally often."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strokelabel.synthesis.lesion_bank import LesionBank
from strokelabel.synthesis.sampling import Sampler

_BINS = 12


class BalancedSelection:
    """Draws masks with a flattened distribution of log-volume.

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
        """Index of one mask."""
        chance = sampler.uniform((0.0, 1.0)) * self._cumulative[-1]
        found = int(np.searchsorted(self._cumulative, chance, side="right"))
        return min(found, len(self._cumulative) - 1)


def masks_between(bank: LesionBank, low_ml: float, high_ml: float) -> NDArray[np.int_]:
    """Indices of the masks with a volume in this range."""
    return np.flatnonzero((bank.volumes_ml >= low_ml) & (bank.volumes_ml <= high_ml))
