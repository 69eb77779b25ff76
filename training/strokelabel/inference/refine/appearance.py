"""Appearance of lesion and the rest in a neighbourhood: histograms, and likelihoods of a voxel."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from strokelabel.types import Volume

_BINS = 48
_SMOOTHING_BINS = 1.5
_MOST_EVIDENCE = 3.0
"""Log-likelihood ratios are clipped to this: intensities alone never decide for certain."""

_LEAST_SHARE = 0.02
"""Share of each histogram spread evenly, so that unseen intensities say nothing."""

_TAILS = (0.5, 99.5)


class Appearance:
    """Histograms over the intensities of one neighbourhood.

    Args:
        intensity: (x, y, z).
        within: (x, y, z) boolean, the voxels that count.
    """

    def __init__(self, intensity: Volume, within: np.ndarray) -> None:
        low, high = np.percentile(intensity[within], _TAILS)
        self.spread = max(float(high - low), 1e-6)
        """Range of intensities, without outliers; never zero."""
        scaled = (intensity - low) * (_BINS / self.spread)
        self._bins = np.clip(scaled, 0, _BINS - 1).astype(np.intp)
        self._within = within

    def histogram(self, weights: Volume) -> np.ndarray:
        """Return the fraction of each intensity bin among voxels counted with weights (x, y, z); it sums to one."""
        counted = np.bincount(self._bins.ravel(), (weights * self._within).ravel(), minlength=_BINS)
        smooth = ndimage.gaussian_filter1d(counted, _SMOOTHING_BINS)
        return smooth / max(float(smooth.sum()), 1e-9)

    def evidence(self, lesion: np.ndarray, rest: np.ndarray) -> Volume:
        """Return the log-likelihood ratio (x, y, z) of lesion over the rest, by their histograms."""
        least = _LEAST_SHARE / _BINS
        ratio = np.log((lesion + least) / (rest + least))
        return np.clip(ratio, -_MOST_EVIDENCE, _MOST_EVIDENCE).astype(np.float32)[self._bins]
