"""A random walker with priors from the intensities of lesion and surroundings."""

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


_LEAST_WEIGHT = 0.02
"""Weight across the strongest edge, so that noise does not cut voxels off."""

_BEYOND_EDGE = 10.0
_TOLERANCE = 1e-2
_MOST_STEPS = 60


class RandomWalker:
    """Graph of one neighbourhood.

    Args:
        intensity: (x, y, z) float32.
        spacing: voxel size in mm; steps along a long axis count less.
        edge: intensity difference at which the weight falls to exp(-1/2).
        prior_weight: c above.
        fixed: (x, y, z) the value of x where it is given, NaN elsewhere.
    """

    def __init__(
        self, intensity: Volume, spacing: np.ndarray, edge: float, prior_weight: float, fixed: Volume
    ) -> None:
        squares = (spacing / spacing.min()) ** 2
        self._weights = [_weights(intensity, axis, edge) / np.float32(squares[axis]) for axis in range(3)]
        self._prior_weight = np.float32(prior_weight)
        self._fixed, self._free = fixed, np.isnan(fixed)
        self._degree = np.full(intensity.shape, prior_weight, np.float32)
        for axis, weight in enumerate(self._weights):
            self._degree[_but_last(axis)] += weight
            self._degree[_but_first(axis)] += weight

    def solve(self, prior: Volume) -> Volume:
        """Return the probabilities (x, y, z) for a prior (x, y, z)."""
        x = np.where(self._free, prior, self._fixed)
        residual = (self._prior_weight * prior - self._apply(x)) * self._free
        step = residual / self._degree
        direction, size = step.copy(), float((residual * step).sum())
        enough = _TOLERANCE**2 * size
        for _ in range(_MOST_STEPS):
            if size <= enough:
                break
            applied = self._apply(direction) * self._free
            length = np.float32(size / float((direction * applied).sum()))
            x += length * direction
            residual -= length * applied
            step = residual / self._degree
            size, before = float((residual * step).sum()), size
            direction = step + np.float32(size / before) * direction
        return x

    def _apply(self, x: Volume) -> Volume:
        """Return the Laplacian plus c, times x."""
        result = self._degree * x
        for axis, weight in enumerate(self._weights):
            result[_but_last(axis)] -= weight * x[_but_first(axis)]
            result[_but_first(axis)] -= weight * x[_but_last(axis)]
        return result


def _weights(intensity: Volume, axis: int, edge: float) -> Volume:
    """Return the weights between neighbours along an axis, one fewer than voxels."""
    difference = np.minimum(np.abs(np.diff(intensity, axis=axis)) / edge, _BEYOND_EDGE)
    return (np.exp(-0.5 * difference**2) + _LEAST_WEIGHT).astype(np.float32)


def _but_last(axis: int) -> tuple[slice, ...]:
    return tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))


def _but_first(axis: int) -> tuple[slice, ...]:
    return tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
