"""Several passes of a network over one scan: the views that it is shown, sums over them, and what they disagree about.

From the class probabilities p of each pass and their mean m, per voxel and in nats (Gal 2016, "Uncertainty in deep
learning", section 3.3): the predictive entropy H(m), and of it the mutual information H(m) - mean H(p), which is
what the passes disagree about ("epistemic": labels may teach it) rather than what all of them find undecided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import exp

import numpy as np
from scipy.special import entr

from strokelabel.inference.engine import Axes, softmax
from strokelabel.inference.network_input import ShownScan, trained_flips
from strokelabel.registry import ModelSpec
from strokelabel.types import ChannelVolume, Volume

LEAST_VIEWS = 6
"""Fewer opinions than this say little about their spread; flips along one axis are only two."""

_GAMMA_LOG = 0.3
"""Half the standard deviation of the logarithm of gamma in training (`synthesis.config`), so nothing unseen."""


@dataclass(frozen=True)
class View:
    """A scan flipped, moved by whole voxels, and with another gamma; all of it can be undone.

    Attributes:
        flips: spatial axes (0, 1, 2 for x, y, z) that are turned round.
        shift: voxels by which the scan moves along x, y and z; edges are repeated.
        gamma: exponent of its intensities, on the scale from 0 to its largest value.
    """

    flips: Axes = ()
    shift: tuple[int, int, int] = (0, 0, 0)
    gamma: float = 1.0

    def apply(self, volume: Volume) -> Volume:
        """Return the view of a volume (x, y, z) whose air is near zero, before normalisation."""
        return np.flip(_moved(_with_gamma(volume, self.gamma), self.shift), self.flips)

    def undo(self, output: ChannelVolume) -> ChannelVolume:
        """Return a network's output (channels, x, y, z) for the view in the position of the scan."""
        x, y, z = self.shift
        return _moved(np.flip(output, [axis - 3 for axis in self.flips]), (-x, -y, -z))


def views_of(spec: ModelSpec, multiple: int) -> list[View]:
    """Return the views for a model; the first is the scan as it is.

    All flips that it was trained with (Wang et al. 2019, "Aleatoric uncertainty estimation with test-time
    augmentation for medical image segmentation"). Where these are fewer than `LEAST_VIEWS`, each flip is also
    shown with the scan moved by a fraction of the network's stride, which changes the answers of networks with
    strides (Zhang 2019, "Making convolutional networks shift-invariant again") and needs no interpolation, and
    with a lower or a higher gamma.

    Args:
        spec: the model's description.
        multiple: of the network's sides: its stride in all.
    """
    axes = trained_flips(spec)
    flips = [View(chosen) for count in range(len(axes) + 1) for chosen in combinations(axes, count)]
    if len(flips) >= LEAST_VIEWS:
        return flips
    step = max(1, multiple // 4)
    moved = ((step, -step, step), (-step, step, -step), (step, step, -step), (-step, -step, step))
    gammas = (exp(_GAMMA_LOG), exp(-_GAMMA_LOG), exp(_GAMMA_LOG / 2), exp(-_GAMMA_LOG / 2))
    views = list(flips)
    for shift, gamma in zip(moved, gammas, strict=True):
        if len(views) < LEAST_VIEWS:
            views += [replace(view, shift=shift, gamma=gamma) for view in flips]
    return views


def describe_views(views: Sequence[View]) -> str:
    """Describe the differences between the views in words."""
    kinds = {
        "flips": any(view.flips for view in views),
        "shifts": any(any(view.shift) for view in views),
        "gamma": any(view.gamma != 1 for view in views),
    }
    return ", ".join(kind for kind, used in kinds.items() if used) or "none"


def _with_gamma(volume: Volume, gamma: float) -> Volume:
    largest = np.abs(volume).max()
    if gamma == 1 or largest == 0:
        return volume
    found: Volume = np.sign(volume) * (np.abs(volume) / largest) ** np.float32(gamma) * largest
    return found


def _moved(volume: np.ndarray, shift: tuple[int, int, int]) -> np.ndarray:
    """Move a (..., x, y, z) volume by whole voxels; what comes in at an edge repeats it."""
    for axis, step in enumerate(shift, start=volume.ndim - 3):
        if step:
            size = volume.shape[axis]
            volume = volume.take(np.clip(np.arange(size) - step, 0, size - 1), axis)
    return volume


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
        self._weight: Volume | None = None

    def add(self, logits: ChannelVolume, weight: Volume | None = None) -> None:
        """Add a pass.

        Args:
            logits: (classes, x, y, z).
            weight: (x, y, z), 0 where the pass says nothing, 1 where it counts in full; None for 1 everywhere.
        """
        weight = np.ones(logits.shape[1:], np.float32) if weight is None else weight
        probabilities = softmax(logits)
        lesion = probabilities[self._lesion]
        if self._weight is None:
            self._weight = np.zeros_like(weight)
            self._logits, self._probabilities = np.zeros_like(logits), np.zeros_like(logits)
            self._entropies, self._squares = np.zeros_like(weight), np.zeros_like(weight)
            self._mean = np.zeros_like(weight)
        self._weight += weight
        self._logits += logits * weight
        self._entropies += _entropy(probabilities) * weight
        self._probabilities += probabilities * weight
        before = lesion - self._mean  # Welford's update, which does not lose small variances
        self._mean += before * weight / np.maximum(self._weight, _TINY)
        self._squares += weight * before * (lesion - self._mean)

    def probabilities(self) -> ChannelVolume:
        """Return the softmax of the mean logits, (classes, x, y, z)."""
        return softmax(self._logits / self._total)

    def maps(self, scan: ShownScan) -> UncertaintyMaps:
        """Return the maps on the grid of the scan that the box belongs to."""
        predictive = _entropy(self._probabilities / self._total)
        information = np.maximum(predictive - self._entropies / self._total, 0)
        shown = (predictive, information, self._squares / self._total)
        first, second, third = (
            scan.canonical.inverse_of_box(*scan.box.within(one), fill=0.0) for one in shown
        )
        return UncertaintyMaps(first, second, third)

    @property
    def _total(self) -> Volume:
        if self._weight is None:
            raise ValueError("expected at least one pass, none was added")
        return np.maximum(self._weight, _TINY)


_TINY = np.float32(1e-6)
"""Instead of a weight of nothing at all."""


def _entropy(probabilities: ChannelVolume) -> Volume:
    """Return the Shannon entropy over the first axis, in nats."""
    found: Volume = entr(probabilities).sum(axis=0)
    return found
