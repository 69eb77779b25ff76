"""Canonical grid: any scan reoriented to right-anterior-superior with isotropic voxels, and exactly back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import nibabel as nib
import numpy as np

from strokelabel.errors import DimensionError, HeaderError
from strokelabel.geometry.grid import Grid, antialias_weights, linear_weights, resample
from strokelabel.types import Affine, ChannelVolume, Volume

_SAME_SPACING = 1e-3
"""Relative difference of spacing below which an axis is taken as it is."""

_RAS = np.array([[0, 1], [1, 1], [2, 1]])

Region = tuple[slice, slice, slice]
"""Voxels (i, j, k) of a scan."""


@dataclass(frozen=True)
class CanonicalGrid:
    """Transformation between a scan's own grid and its canonical one.

    Axes are permuted and flipped to the closest right-anterior-superior order; oblique angles stay in the
    affine. Then each axis is resampled to the target spacing over the same field of view.

    An axis whose spacing already fits is left untouched, so that without resampling `inverse(forward(x))` is
    `x` to the bit. An axis that becomes finer has a target voxel on a source voxel's centre, so that whole
    ratios (2 mm to 1 mm) lose nothing either.

    Attributes:
        source: the scan's own grid, axes i, j, k.
        target: the canonical grid, axes x (to the right), y (to the front), z (to the top).
        turned: the source grid after turning its axes, before resampling.
        ratios: target spacing over source spacing along x, y, z; exactly 1 where nothing is resampled.
    """

    source: Grid
    target: Grid
    turned: Grid
    ratios: tuple[float, float, float]

    @classmethod
    def for_image(cls, shape: tuple[int, int, int], affine: Affine, spacing_mm: float = 1.0) -> CanonicalGrid:
        """Plan the canonical grid of an image.

        Args:
            shape: voxels along i, j, k.
            affine: (4, 4) voxel index to RAS mm.
            spacing_mm: isotropic target spacing in mm.

        Raises:
            DimensionError, HeaderError: the grid is not one of a volume, or the spacing is not positive.
        """
        if not (np.isfinite(spacing_mm) and spacing_mm > 0):
            raise HeaderError(f"Expected a positive target spacing in mm, found {spacing_mm}; 1.0 is usual.")
        source = Grid(shape, affine)
        turned = _turn(source)
        x, y, z = (_ratio(spacing, spacing_mm) for spacing in turned.spacing)
        ratios = (x, y, z)
        sizes = [_target_size(size, ratio) for size, ratio in zip(turned.shape, ratios, strict=True)]
        first = [_first_position(*axis) for axis in zip(turned.shape, sizes, ratios, strict=True)]
        affine = turned.affine.copy()
        affine[:3, :3] *= ratios
        affine[:3, 3] = turned.to_world(np.array(first))
        return cls(source, Grid((sizes[0], sizes[1], sizes[2]), affine), turned, ratios)

    @property
    def resamples(self) -> bool:
        """True if any axis is interpolated."""
        return any(ratio != 1.0 for ratio in self.ratios)

    def forward(self, volume: Volume) -> Volume:
        """Bring a (i, j, k) volume to the canonical grid.

        Linear interpolation, after a Gaussian antialias along axes that become coarser.

        Returns:
            float32 (x, y, z).

        Raises:
            DimensionError: the volume does not have the source grid's shape.
        """
        _check_shape(volume.shape, self.source.shape, "i, j, k")
        turned = nib.orientations.apply_orientation(volume, self._orientation)
        return resample(turned, tuple(self._forward_weights(axis) for axis in range(3)))

    def forward_labels(self, labels: np.ndarray) -> np.ndarray:
        """Bring a (i, j, k) label map or mask to the canonical grid by nearest neighbour; the type is kept.

        Raises:
            DimensionError: the labels do not have the source grid's shape.
        """
        _check_shape(labels.shape, self.source.shape, "i, j, k")
        turned = nib.orientations.apply_orientation(labels, self._orientation)
        nearest = [_nearest(self._positions(axis), size) for axis, size in enumerate(self.turned.shape)]
        return np.ascontiguousarray(turned[np.ix_(*nearest)])

    def inverse(self, channels: ChannelVolume) -> ChannelVolume:
        """Bring (c, x, y, z) channels, such as probabilities, back to the scan's own grid, linearly.

        Voxel centres outside the canonical grid (by less than half a voxel) take the edge value.

        Returns:
            float32 (c, i, j, k).

        Raises:
            DimensionError: the channels do not have the target grid's shape.
        """
        _check_shape(channels.shape[1:], self.target.shape, "channels, x, y, z")
        weights = tuple(self._inverse_weights(axis) for axis in range(3))
        result = np.empty((len(channels), *self.source.shape), dtype=np.float32)
        for output, channel in zip(result, channels, strict=True):
            output[...] = nib.orientations.apply_orientation(resample(channel, weights), self._back)
        return result

    def inverse_of_box(self, channel: Volume, start: tuple[int, ...], fill: float) -> Volume:
        """Return `inverse` of one channel that is `fill` outside a box, without computing the outside.

        Args:
            channel: (x, y, z), the voxels of the box, all of them within the canonical grid.
            start: first voxel of the box.
            fill: value of all other voxels.

        Returns:
            float32 (i, j, k).

        Raises:
            DimensionError: the box leaves the canonical grid.
        """
        values, region = self.inverse_region(channel, start, fill)
        result = np.full(self.source.shape, fill, dtype=np.float32)
        result[region] = values
        return result

    def inverse_region(self, channel: Volume, start: tuple[int, ...], fill: float) -> tuple[Volume, Region]:
        """Return the part of `inverse_of_box` that is not `fill` alone, and where it lies.

        Returns:
            float32, axes as those of the scan; and its voxels (i, j, k) in the scan.

        Raises:
            DimensionError: the box leaves the canonical grid.
        """
        stop = [first + size for first, size in zip(start, channel.shape, strict=True)]
        if min(start) < 0 or any(last > size for last, size in zip(stop, self.target.shape, strict=True)):
            raise DimensionError(
                f"Expected a box within {self.target.shape}, found one from {tuple(start)} to {tuple(stop)}."
            )
        # One voxel of the outside on each side: source voxels between the box and its neighbours see both.
        low = [max(first - 1, 0) for first in start]
        high = [min(last + 1, size) for last, size in zip(stop, self.target.shape, strict=True)]
        pads = [(a - b, c - d) for a, b, c, d in zip(start, low, high, stop, strict=True)]
        padded = np.pad(channel, pads, constant_values=fill)
        rows, weights = zip(
            *[self._rows_of(*axis) for axis in zip(range(3), low, high, strict=True)], strict=True
        )
        values = nib.orientations.apply_orientation(resample(padded, weights), self._back)
        return np.ascontiguousarray(values), self._turned_back(rows)

    def inverse_sum(self, channel: Volume, start: tuple[int, ...]) -> float:
        """Return the sum of `inverse_of_box` of a channel that is zero outside the box, without computing it."""
        total = channel.astype(np.float64)
        for axis, (first, size) in reversed(list(enumerate(zip(start, channel.shape, strict=True)))):
            weights = self._inverse_weights(axis)
            shares = np.ones(size) if weights is None else weights[:, first : first + size].sum(axis=0)
            total = total @ shares
        return float(total)

    def _turned_back(self, rows: Sequence[slice]) -> Region:
        """Return the voxels (i, j, k) of the scan for voxels of the turned one."""
        region = [slice(0)] * 3
        for (axis, flip), used, size in zip(self._back, rows, self.turned.shape, strict=True):
            region[int(axis)] = used if flip > 0 else slice(size - used.stop, size - used.start)
        i, j, k = region
        return i, j, k

    def _rows_of(self, axis: int, low: int, high: int) -> tuple[slice, np.ndarray | None]:
        """Return the source voxels along an axis that see only canonical voxels low to high, and their weights."""
        weights = self._inverse_weights(axis)
        if weights is None:
            return slice(low, high), None
        inside = np.flatnonzero(np.isclose(weights[:, low:high].sum(axis=1), 1.0))
        if len(inside) == 0:
            return slice(0, 0), weights[0:0, low:high]
        rows = slice(int(inside[0]), int(inside[-1]) + 1)
        return rows, weights[rows, low:high]

    def inverse_labels(self, labels: np.ndarray) -> np.ndarray:
        """Bring (x, y, z) labels back to the scan's grid (i, j, k) by nearest neighbour; the type is kept.

        Raises:
            DimensionError: the labels do not have the target grid's shape.
        """
        _check_shape(labels.shape, self.target.shape, "x, y, z")
        nearest = [
            _nearest(self._inverse_positions(axis), size) for axis, size in enumerate(self.target.shape)
        ]
        turned = labels[np.ix_(*nearest)]
        return np.ascontiguousarray(nib.orientations.apply_orientation(turned, self._back))

    @property
    def _orientation(self) -> np.ndarray:
        return nib.orientations.io_orientation(self.source.affine)

    @property
    def _back(self) -> np.ndarray:
        return nib.orientations.ornt_transform(_RAS, self._orientation)

    def _positions(self, axis: int) -> np.ndarray:
        """Return the fractional source index of each canonical voxel along an axis."""
        first = self.turned.to_voxel(self.target.affine[:3, 3])[axis]
        return first + np.arange(self.target.shape[axis]) * self.ratios[axis]

    def _inverse_positions(self, axis: int) -> np.ndarray:
        """Return the fractional canonical index of each source voxel along an axis."""
        first = self.target.to_voxel(self.turned.affine[:3, 3])[axis]
        return first + np.arange(self.turned.shape[axis]) / self.ratios[axis]

    def _forward_weights(self, axis: int) -> np.ndarray | None:
        ratio, size = self.ratios[axis], self.turned.shape[axis]
        if ratio == 1.0:
            return None
        weights = linear_weights(self._positions(axis), size)
        return weights @ antialias_weights(size, ratio) if ratio > 1.0 else weights

    def _inverse_weights(self, axis: int) -> np.ndarray | None:
        if self.ratios[axis] == 1.0:
            return None
        return linear_weights(self._inverse_positions(axis), self.target.shape[axis])


def _turn(source: Grid) -> Grid:
    """Permute and flip the source grid's axes to the closest right-anterior-superior order."""
    orientation = nib.orientations.io_orientation(source.affine)
    shape = [0, 0, 0]
    for axis, (target, _) in enumerate(orientation.astype(int)):
        shape[target] = source.shape[axis]
    affine = source.affine @ nib.orientations.inv_ornt_aff(orientation, source.shape)
    return Grid((shape[0], shape[1], shape[2]), affine)


def _ratio(source_mm: float, target_mm: float) -> float:
    ratio = target_mm / source_mm
    return 1.0 if abs(ratio - 1.0) <= _SAME_SPACING else ratio


def _target_size(size: int, ratio: float) -> int:
    """Return the voxels needed to cover the field of view; a thousandth of a voxel too many is not worth a slice."""
    return max(1, ceil(size / ratio - _SAME_SPACING))


def _first_position(source_size: int, target_size: int, ratio: float) -> float:
    """Return the fractional source index of the first target voxel; both fields of view share their centre.

    Where the target is finer, it is shifted by up to half a target voxel onto the middle source voxel.
    """
    first = (source_size - 1) / 2 - (target_size - 1) / 2 * ratio
    if ratio >= 1.0:
        return first
    middle = (source_size - 1) // 2
    return middle - ceil((middle - first) / ratio - 0.5 - _SAME_SPACING) * ratio


def _nearest(positions: np.ndarray, size: int) -> np.ndarray:
    return np.clip(np.floor(positions + 0.5).astype(int), 0, size - 1)


def _check_shape(found: tuple[int, ...], expected: tuple[int, int, int], axes: str) -> None:
    if tuple(found) != expected:
        raise DimensionError(
            f"Expected axes {axes} of shape {expected}, found {tuple(found)}; pass data on the planned grid."
        )
