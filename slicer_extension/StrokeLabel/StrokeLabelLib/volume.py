"""Images as arrays with a place in space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import GeometryError

PLACE_TOLERANCE = 0.1
"""Largest distance of corners, in voxels, at which two grids are the same: rounding of headers only."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Positions of voxels in space.

    Attributes:
        shape: voxels along i, j, k.
        affine: (4, 4) from voxel index (i, j, k) to RAS in mm.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def spacing_mm(self) -> np.ndarray:
        """Distance of neighbours along i, j, k, in mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def to_mm(self, voxel: tuple[float, ...] | np.ndarray) -> np.ndarray:
        """Return the RAS in mm of a voxel index (i, j, k)."""
        return self.affine[:3, :3] @ np.asarray(voxel, float) + self.affine[:3, 3]

    def to_voxel(self, point_mm: tuple[float, ...] | np.ndarray) -> tuple[int, int, int]:
        """Return the voxel (i, j, k) at a point in RAS mm.

        Raises:
            GeometryError: outside the image.
        """
        offset = np.asarray(point_mm, float) - self.affine[:3, 3]
        i, j, k = (int(n) for n in np.rint(np.linalg.solve(self.affine[:3, :3], offset)))
        if not all(0 <= n < size for n, size in zip((i, j, k), self.shape)):
            raise GeometryError("The point lies outside the scan; click inside it.")
        return i, j, k

    def same_as(self, other: Grid) -> bool:
        """Return whether the voxels of both have the same positions in the same order."""
        if self.shape != other.shape:
            return False
        corners = _corners(self.shape)
        return bool(np.abs(corners - _map(other, self, corners)).max() < PLACE_TOLERANCE)


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image.

    Attributes:
        data: (i, j, k).
        affine: (4, 4) from voxel index (i, j, k) to RAS in mm.
    """

    data: np.ndarray
    affine: np.ndarray

    @property
    def grid(self) -> Grid:
        """Grid of the voxels."""
        i, j, k = self.data.shape
        return Grid((i, j, k), self.affine)

    def with_data(self, data: np.ndarray) -> Volume:
        """Return other voxels on the same grid."""
        return Volume(data, self.affine)


def onto_grid(volume: Volume, grid: Grid) -> Volume:
    """Reorder voxels so that they lie on a grid: flips, permutations, and whole-voxel offsets; never interpolation.

    3D Slicer holds left-handed images with k flipped, and segmentations cropped to what is painted; both come back
    exactly. Voxels of the grid that the volume does not cover are zero.

    Raises:
        GeometryError: the axes or the spacing differ, or voxels fall between those of the grid.
    """
    steps = np.linalg.solve(grid.affine[:3, :3], volume.affine[:3, :3])
    whole = np.rint(steps)
    start = np.linalg.solve(grid.affine[:3, :3], volume.affine[:3, 3] - grid.affine[:3, 3])
    extent = np.maximum(np.array(volume.data.shape) - 1, 1)
    drift = np.abs((steps - whole) * extent).sum(axis=1) + np.abs(start - np.rint(start))
    is_permutation = (np.abs(whole).sum(axis=0) == 1).all() and (np.abs(whole).sum(axis=1) == 1).all()
    if not is_permutation or drift.max() > PLACE_TOLERANCE:
        raise GeometryError(
            "The mask does not lie on the scan's voxels (another spacing, angle or a shift by part of a voxel); "
            "use the scan as the segmentation's source geometry."
        )
    order = [int(np.argmax(np.abs(whole[axis]))) for axis in range(3)]
    data = np.transpose(volume.data, order)
    first = np.rint(start).astype(int)
    for axis in range(3):
        if whole[axis, order[axis]] < 0:
            data = np.flip(data, axis)
            first[axis] -= data.shape[axis] - 1
    return Volume(_placed(data, first, grid.shape), grid.affine)


def _placed(data: np.ndarray, first: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    if data.shape == shape and not first.any():
        return np.ascontiguousarray(data)
    result = np.zeros(shape, data.dtype)
    low = np.maximum(first, 0)
    high = np.minimum(first + np.array(data.shape), shape)
    if (high > low).all():
        target = tuple(slice(a, b) for a, b in zip(low, high))
        source = tuple(slice(a, b) for a, b in zip(low - first, high - first))
        result[target] = data[source]
    return result


def _corners(shape: tuple[int, int, int]) -> np.ndarray:
    ends = [(0, n - 1) for n in shape]
    return np.array([(i, j, k) for i in ends[0] for j in ends[1] for k in ends[2]], float)


def _map(source: Grid, target: Grid, voxels: np.ndarray) -> np.ndarray:
    points = voxels @ source.affine[:3, :3].T + source.affine[:3, 3] - target.affine[:3, 3]
    return np.linalg.solve(target.affine[:3, :3], points.T).T
