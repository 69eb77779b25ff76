"""Sums over several passes of a network, and what they say about each voxel.

From the class probabilities p of each pass and their mean m, per voxel and in nats (Gal 2016, "Uncertainty in deep
learning", section 3.3): the predictive entropy H(m), and of it the mutual information H(m) - mean H(p), which is
what the passes disagree about ("epistemic": labels may teach it) rather than what all of them find undecided.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.inference.network_input import ShownScan
from strokelabel.types import ChannelVolume, Volume


@dataclass(frozen=True, eq=False)
class UncertaintyMaps:
    """Maps of the uncertainty of a prediction, each (i, j, k) float32 on the scan's own grid.

    Attributes:
        predictive_entropy: of the mean class probabilities, nats: 0 for certain, ln(classes) for a guess.
        mutual_information: between class and pass, nats: 0 where all passes agree.
        lesion_variance: variance of the lesion's probability between passes, 0 to 0.25.
    """

    predictive_entropy: Volume
    mutual_information: Volume
    lesion_variance: Volume


class PassSums:
    """Weighted sums over passes in one box; the passes themselves are not kept.

    Args:
        lesion: index of the lesion among the classes.
    """

    def __init__(self, lesion: int) -> None:
        self._lesion = lesion
        self._weight: Tensor | None = None

    def add(self, logits: Tensor, weight: Tensor | None = None) -> None:
        """Add a pass.

        Args:
            logits: (classes, x, y, z).
            weight: (x, y, z), 0 where the pass says nothing, 1 where it counts in full; None for 1 everywhere.
        """
        weight = torch.ones(logits.shape[1:]) if weight is None else weight
        probabilities = torch.softmax(logits, dim=0)
        lesion = probabilities[self._lesion].clone()
        if self._weight is None:
            self._weight = torch.zeros_like(weight)
            self._logits, self._probabilities = torch.zeros_like(logits), torch.zeros_like(logits)
            self._entropies, self._squares = torch.zeros_like(weight), torch.zeros_like(weight)
            self._mean = torch.zeros_like(weight)
        self._weight += weight
        self._logits.addcmul_(logits, weight[None])
        self._entropies.addcmul_(_entropy(probabilities), weight)
        self._probabilities.addcmul_(probabilities, weight[None])
        before = lesion - self._mean  # Welford's update, which does not lose small variances
        self._mean += before * weight / self._weight.clamp_min(_TINY)
        self._squares += weight * before * (lesion - self._mean)

    def probabilities(self) -> ChannelVolume:
        """Return the softmax of the mean logits, (classes, x, y, z)."""
        return torch.softmax(self._logits / self._total, dim=0).numpy()

    def maps(self, scan: ShownScan) -> UncertaintyMaps:
        """Return the maps on the grid of the scan that the box belongs to."""
        predictive = _entropy(self._probabilities / self._total)
        information = (predictive - self._entropies / self._total).clamp_min(0)
        shown = (predictive, information, self._squares / self._total)
        first, second, third = (
            scan.canonical.inverse_of_box(*scan.box.within(one.numpy()), fill=0.0) for one in shown
        )
        return UncertaintyMaps(first, second, third)

    @property
    def _total(self) -> Tensor:
        if self._weight is None:
            raise ValueError("expected at least one pass, none was added")
        return self._weight.clamp_min(_TINY)


_TINY = 1e-6
"""Instead of a weight of nothing at all."""


def _entropy(probabilities: Tensor) -> Tensor:
    """Return the Shannon entropy over the first axis, in nats."""
    return torch.special.entr(probabilities).sum(dim=0)
