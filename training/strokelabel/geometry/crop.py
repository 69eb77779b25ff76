"""Segmentation of the head from air, generously, and cropping to a box and pasting back, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from strokelabel.errors import DimensionError
from strokelabel.geometry.grid import Grid

if TYPE_CHECKING:
    from torch import Tensor

_SPECKS = 1e-3
"""Share of a slice's voxels that may be mistaken for foreground; 1 in 1000 of a head is some 10 mm across."""

_Triple = tuple[int, int, int]


@dataclass(frozen=True)
class CropBox:
    """A box of voxels in a larger grid. It may reach beyond the grid: there, crops are padded.

    Attributes:
        full_shape: shape (x, y, z) of the larger grid.
        start: first voxel of the box, possibly negative.
        stop: one past the last voxel, possibly beyond `full_shape`.
    """

    full_shape: _Triple
    start: _Triple
    stop: _Triple

    @property
    def shape(self) -> _Triple:
        """Shape (x, y, z) of a crop."""
        x, y, z = (stop - start for start, stop in zip(self.start, self.stop, strict=True))
        return x, y, z

    def crop(self, array: np.ndarray, fill: float = 0) -> np.ndarray:
        """Cut the box out of (..., x, y, z); voxels beyond the grid get `fill`.

        Raises:
            DimensionError: the last three axes are not those of the full grid.
        """
        _check_shape(array.shape, self.full_shape)
        result = np.full((*array.shape[:-3], *self.shape), fill, dtype=array.dtype)
        result[self._inside_crop] = array[self._inside_full]
        return result

    def paste(self, crop: np.ndarray, fill: float = 0) -> np.ndarray:
        """Put a (..., x, y, z) crop back into the full grid; voxels outside the box get `fill`.

        Raises:
            DimensionError: the last three axes are not those of the box.
        """
        _check_shape(crop.shape, self.shape)
        result = np.full((*crop.shape[:-3], *self.full_shape), fill, dtype=crop.dtype)
        result[self._inside_full] = crop[self._inside_crop]
        return result

    def within(self, crop: np.ndarray) -> tuple[np.ndarray, _Triple]:
        """Return the part of a (..., x, y, z) crop that lies in the full grid, and its first voxel there.

        Raises:
            DimensionError: the last three axes are not those of the box.
        """
        _check_shape(crop.shape, self.shape)
        x, y, z = (first for first, _ in self._inside)
        return crop[self._inside_crop], (x, y, z)

    def grid(self, full: Grid) -> Grid:
        """Return the grid of a crop, so that its voxels keep their world coordinates."""
        return full.window(self.start, self.shape)

    @property
    def _inside(self) -> list[tuple[int, int]]:
        """First and one past the last voxel of the box that lie in the full grid, per axis."""
        bounds = zip(self.start, self.stop, self.full_shape, strict=True)
        return [(max(start, 0), min(stop, size)) for start, stop, size in bounds]

    @property
    def _inside_full(self) -> Any:  # noqa: ANN401 - numpy's indices have no common type
        return (..., *(slice(first, last) for first, last in self._inside))

    @property
    def _inside_crop(self) -> Any:  # noqa: ANN401 - as above
        inside = zip(self._inside, self.start, strict=True)
        return (..., *(slice(first - start, last - start) for (first, last), start in inside))


def box_around(mask: np.ndarray, margin_vox: int = 0, multiple: int = 1, least: int = 1) -> CropBox:
    """Return the bounding box of a (x, y, z) mask, with a margin kept inside the grid, widened to a multiple.

    Args:
        mask: true where the box must reach; all false means the whole grid.
        margin_vox: voxels added on each side, as far as the grid goes.
        multiple: each side of the box becomes a multiple of this, over real voxels where there are any.
        least: true voxels that a slice must hold to count; more than one ignores specks.
    """
    x, y, z = mask.shape
    profiles = (mask.sum(axis=(1, 2)), mask.sum(axis=(0, 2)), mask.sum(axis=(0, 1)))
    extents = [_extent(profile >= least, margin_vox) for profile in profiles]
    sides = [_widen(*extent, size, multiple) for extent, size in zip(extents, mask.shape, strict=True)]
    (x0, x1), (y0, y1), (z0, z1) = sides
    return CropBox((x, y, z), (x0, y0, z0), (x1, y1, z1))


def foreground_box(volume: np.ndarray, margin_vox: int = 0, multiple: int = 1) -> CropBox:
    """Return the box around the head in a (x, y, z) volume: see `foreground_mask` and `box_around`.

    A slice counts when it holds more than a few voxels of foreground, so that noise does not.
    """
    least = 1 + round(_SPECKS * volume.size / max(volume.shape))
    return box_around(foreground_mask(volume), margin_vox, multiple, least)


def crop_to_foreground(
    volume: np.ndarray, margin_vox: int = 0, multiple: int = 1, fill: float = 0
) -> tuple[np.ndarray, CropBox]:
    """Crop a (x, y, z) volume to the head; return the crop and the box to paste results back with."""
    box = foreground_box(volume, margin_vox, multiple)
    return box.crop(volume, fill), box


def _extent(reached: np.ndarray, margin: int) -> tuple[int, int]:
    found = np.flatnonzero(reached)
    if len(found) == 0:
        return 0, len(reached)
    return max(int(found[0]) - margin, 0), min(int(found[-1]) + 1 + margin, len(reached))


def _widen(start: int, stop: int, size: int, multiple: int) -> tuple[int, int]:
    """Grow a side to a multiple about its centre, shifted so that it leaves the grid only if it must."""
    length = -(-(stop - start) // multiple) * multiple
    first = start - (length - (stop - start)) // 2
    first = min(max(first, 0), size - length) if length <= size else -((length - size) // 2)
    return first, first + length


def _check_shape(found: tuple[int, ...], expected: _Triple) -> None:
    if found[-3:] != expected:
        raise DimensionError(
            f"Expected last axes of shape {expected}, found {found}; pass data on the grid of the box."
        )


def dilate_cross(mask: Tensor) -> Tensor:
    """Grow a bool mask (..., x, y, z) by the six neighbours that share a face."""
    grown = mask.clone()
    for axis in (-3, -2, -1):
        _grow_along(grown, mask, axis)
    return grown


def dilate_box(mask: Tensor) -> Tensor:
    """Grow a bool mask (..., x, y, z) by all 26 neighbours."""
    for axis in (-3, -2, -1):
        grown = mask.clone()
        _grow_along(grown, mask, axis)
        mask = grown
    return mask


def _grow_along(grown: Tensor, mask: Tensor, axis: int) -> None:
    """Add to a mask, in place, another one moved by one voxel either way along an axis."""
    size = mask.shape[axis]
    first, last = (grown.narrow(axis, start, size - 1) for start in (0, 1))
    first |= mask.narrow(axis, 1, size - 1)
    last |= mask.narrow(axis, 0, size - 1)


_FLAT_FRACTION = 0.05
"""Share of voxels with one and the same value from which that value is taken for an empty background."""

_BINS = 256
_SAMPLES = 500_000


def foreground_mask(volume: np.ndarray) -> np.ndarray:
    """Return the foreground voxels.

    A value that fills much of the volume, whatever its sign, is the background of a masked scan.
    Otherwise the background is noise: voxels below a point halfway from its mean to Otsu's threshold.

    Args:
        volume: (x, y, z), finite.

    Returns:
        bool (x, y, z); all true when nothing tells the head from the air.
    """
    flat = _flat_value(volume)
    if flat is not None:
        return volume != flat
    sample = _sample(volume)
    low, high = np.percentile(sample, (0.0, 99.0))  # without this, one bright vessel shifts the threshold
    if low >= high:
        return np.ones(volume.shape, dtype=bool)
    threshold = _otsu(np.clip(sample, low, high))
    background = float(sample[sample <= threshold].mean())
    return volume > (background + threshold) / 2


def _sample(volume: np.ndarray) -> np.ndarray:
    """Sample about half a million voxels, evenly spread."""
    flat = volume.ravel()
    return flat[:: max(1, flat.size // _SAMPLES) | 1]  # odd steps do not fall in with even sides


def _flat_value(volume: np.ndarray) -> float | None:
    values, counts = np.unique(_sample(volume), return_counts=True)
    most = counts.argmax()
    return values[most] if counts[most] >= _FLAT_FRACTION * counts.sum() and len(values) > 1 else None


def _otsu(sample: np.ndarray) -> float:
    """Return the threshold that separates two classes best (Otsu 1979, "A threshold selection method")."""
    counts, edges = np.histogram(sample, bins=_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    means_below = sums[:-1] / np.maximum(below, 1)
    means_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1:-1][(below * above * (means_below - means_above) ** 2).argmax()])
