"""Part of a scan around a prompt, coarse enough for fast computation."""

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
