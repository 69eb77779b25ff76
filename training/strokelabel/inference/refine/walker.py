"""A random walker with priors from the intensities of lesion and surroundings, in a coarse part of a scan."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from scipy import ndimage

from strokelabel.geometry import CropBox
from strokelabel.types import Mask, Volume

Triple = tuple[int, int, int]

_COARSER = 1.15
"""Factor by which the wanted voxel size grows until the neighbourhood is small enough."""


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """A box around seeds, and cubes of `factors` voxels of the scan that are its voxels.

    Attributes:
        box: in the scan's grid.
        factors: voxels of the scan per voxel of the neighbourhood, along i, j, k.
        spacing: voxel size of the neighbourhood in mm.
        seeds: (x, y, z) true where a seed is, on the coarse grid.
        distance_mm: (x, y, z) to the nearest seed, on the coarse grid.
    """

    box: CropBox
    factors: Triple
    spacing: np.ndarray
    seeds: Mask
    distance_mm: Volume

    def coarse(self, array: np.ndarray) -> Volume:
        """Return the means (x, y, z) of an array (i, j, k) of the whole scan, float32."""
        return block_means(self.box.crop(array).astype(np.float32), self.factors)

    def fine(self, coarse: Volume) -> Volume:
        """Return the values on the box's own voxels, interpolated linearly from coarse ones (x, y, z)."""
        for axis, (factor, size) in enumerate(zip(self.factors, self.box.shape, strict=True)):
            if factor > 1:
                coarse = _interpolate(coarse, axis, (np.arange(size) + 0.5) / factor - 0.5)
        return coarse


def neighbourhood(
    seeds: np.ndarray, shape: Triple, spacing: tuple[float, float, float], reach_mm: float, max_voxels: int
) -> Neighbourhood:
    """Return the neighbourhood of some seeds.

    Args:
        seeds: (n, 3) voxel indices.
        shape: of the scan.
        spacing: of the scan in mm.
        reach_mm: from the seeds to the edges of the box, as far as the scan goes.
        max_voxels: upper limit of the coarse grid.
    """
    box = box_about(seeds, shape, spacing, reach_mm)
    factors = coarsening(box.shape, spacing, max_voxels)
    coarse_spacing = np.array(spacing) * factors
    places = np.zeros([-(-n // f) for n, f in zip(box.shape, factors, strict=True)], dtype=bool)
    places[tuple(((seeds - box.start) // np.array(factors)).T)] = True
    distance = ndimage.distance_transform_edt(~places, sampling=coarse_spacing).astype(np.float32)
    return Neighbourhood(box, factors, coarse_spacing, places, distance)


def box_about(
    seeds: np.ndarray, shape: Triple, spacing: tuple[float, float, float], reach_mm: float
) -> CropBox:
    """Return the box that reaches `reach_mm` from the seeds (n, 3), within the scan."""
    margin = [ceil(reach_mm / step) for step in spacing]
    start = [max(0, int(low) - m) for low, m in zip(seeds.min(axis=0), margin, strict=True)]
    stop = [min(n, int(high) + 1 + m) for n, high, m in zip(shape, seeds.max(axis=0), margin, strict=True)]
    return CropBox(shape, (start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def coarsening(shape: Triple, spacing: tuple[float, float, float], max_voxels: int) -> Triple:
    """Return the voxels to average along each axis so that few enough are left, as close to cubes as can be."""
    size = min(spacing)
    while True:
        i, j, k = (min(n, max(1, round(size / step))) for n, step in zip(shape, spacing, strict=True))
        if prod(-(-n // f) for n, f in zip(shape, (i, j, k), strict=True)) <= max(max_voxels, 1):
            return i, j, k
        size *= _COARSER


def block_means(volume: Volume, factors: Triple) -> Volume:
    """Return the means over blocks of `factors` voxels; the last block along an axis repeats the edge."""
    if factors == (1, 1, 1):
        return volume
    pads = [(0, -size % factor) for size, factor in zip(volume.shape, factors, strict=True)]
    padded = np.pad(volume, pads, mode="edge")
    x, y, z = (size // factor for size, factor in zip(padded.shape, factors, strict=True))
    return padded.reshape(x, factors[0], y, factors[1], z, factors[2]).mean(axis=(1, 3, 5))


def _interpolate(volume: Volume, axis: int, places: np.ndarray) -> Volume:
    """Interpolate linearly along one axis at fractional indices; beyond the ends the edge repeats."""
    last = volume.shape[axis] - 1
    places = np.clip(places, 0, last)
    below = np.floor(places).astype(np.intp)
    above = np.minimum(below + 1, last)
    weight = np.expand_dims((places - below).astype(np.float32), [a for a in range(3) if a != axis])
    return volume.take(below, axis) * (1 - weight) + volume.take(above, axis) * weight


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
