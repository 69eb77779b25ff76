"""Rule for "the same voxels": when two grids are the same, with axes in any order and direction.

Labels, masks and maps belong to a scan only if they have its voxels. Programs store these in any of the 48 orders of
axes, and round affines. Everything that compares grids asks here, so that a file is accepted everywhere or nowhere.
Data are reordered, never interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from strokelabel.errors import GeometryError
from strokelabel.geometry.grid import Grid

TOLERANCE_MM: Final = 0.1
"""Distance of the field of view's corners, in mm, up to which two grids are one.

That is what rounding makes. Measured over 240 mm in any orientation: float32 headers move a corner by less than
0.0001 mm, text (NRRD, DICOM's decimal strings) of six decimals by 0.0005 mm and of four by 0.04 mm, a qform's
quaternion mostly by less than 0.1 mm. It is small against what must never pass for rounding: half a voxel, by which
programs differ that count from a voxel's centre or from its corner, and motion. A voxel snapped by this much is far
nearer than nearest-neighbour resampling would leave it.
"""

_LARGEST_SHARE: Final = 0.25
"""Share of the shortest side of a voxel that is never rounding, whatever it is in mm: voxels below 0.4 mm."""


@dataclass(frozen=True)
class Placement:
    """Placement of a grid's voxels in another grid that has a voxel at each of their positions, or would if it were
    larger.

    Attributes:
        source: the grid that data are on.
        target: the grid that they are brought to; its affine is the exact one.
        axes: for each axis of the target, the axis of the source that runs along it.
        flips: for each axis of the target, whether the source runs against it.
        start: index in the target of the reordered source's first voxel; may lie outside.
    """

    source: Grid
    target: Grid
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    start: tuple[int, int, int]

    @property
    def is_whole(self) -> bool:
        """True if both have the same voxels, rather than a part of each other's."""
        return self.start == (0, 0, 0) and self._shape == self.target.shape

    def reorder(self, data: np.ndarray) -> np.ndarray:
        """Return a view of (i, j, k) data of the source with axes in the order and direction of the target's."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return np.transpose(data, self.axes)[steps]

    def paste(self, data: np.ndarray) -> tuple[np.ndarray, int]:
        """Return the data of the source on the whole target, 0 elsewhere, and the number of nonzero voxels outside."""
        turned = self.reorder(data)
        first = np.minimum(np.maximum(self.start, 0), self.target.shape)
        last = np.maximum(first, np.minimum(np.add(self.start, turned.shape), self.target.shape))
        whole = np.zeros(self.target.shape, data.dtype)
        inside = turned[_box(first - self.start, last - self.start)]
        whole[_box(first, last)] = inside
        return whole, int(np.count_nonzero(turned) - np.count_nonzero(inside))

    @property
    def _shape(self) -> tuple[int, int, int]:
        i, j, k = (self.source.shape[axis] for axis in self.axes)
        return i, j, k


def find_placement(source: Grid, target: Grid) -> Placement | None:
    """Find where the voxels of a grid are among those of another, axes in any order and direction.

    The grids may have different shapes and be shifted by whole voxels; see `Placement.is_whole`.

    Returns:
        None where a corner of the source is further than rounding goes from where the target's voxels would be.
    """
    to_target = np.linalg.inv(target.affine) @ source.affine
    turn = np.rint(to_target[:3, :3])
    if not np.array_equal(np.abs(turn) @ np.abs(turn).T, np.eye(3)):
        return None
    axes = np.abs(turn).argmax(axis=1)
    flips = turn.sum(axis=1) < 0
    # Where the first voxel lies is decided in the middle, where rounded directions matter least.
    middle = (np.array(source.shape) - 1) / 2
    whole = np.eye(4)
    whole[:3, :3] = turn
    whole[:3, 3] = np.rint(to_target[:3, :3] @ middle + to_target[:3, 3] - turn @ middle)
    snapped = Grid(source.shape, target.affine @ whole)
    if corner_distance_mm(source, snapped) > rounding_mm(target):
        return None
    start = whole[:3, 3] + np.where(flips, 1 - np.array(source.shape)[axes], 0)
    return Placement(source, target, _three(axes), _flags(flips), _three(start))


def is_same_grid(first: Grid, second: Grid) -> bool:
    """Return whether two grids have the same voxels, but for rounding, with axes in any order and direction."""
    placement = find_placement(first, second)
    return placement is not None and placement.is_whole


def bring_to_grid(
    data: np.ndarray, source: Grid, target: Grid, name: str, reference: str, *, may_be_part: bool = False
) -> np.ndarray:
    """Bring data to a grid that has the same voxels; values are only reordered.

    Args:
        data: (i, j, k) on the grid `source`.
        source: where the data are, by their file.
        target: where they belong; its affine is theirs from then on.
        name: what they are called in errors.
        reference: what has the grid `target`, for errors.
        may_be_part: also take data that cover a part of the target, as 3D Slicer saves segmentations; the rest is 0.

    Returns:
        Data of the target's shape, a view where nothing is to be added.

    Raises:
        GeometryError: on another grid, or (of a part) not zero outside the target; names both grids.
    """
    placement = check_same_grid(source, target, name, reference, may_be_part=may_be_part)
    if placement.is_whole:
        return placement.reorder(data)
    whole, lost = placement.paste(data)
    if lost:
        raise GeometryError(
            f"{name}: expected segments within {reference} ({describe_grid(target)}), found {lost:,} voxels of them "
            f"outside it ({describe_grid(source)}); crop the segmentation to the scan."
        )
    return whole


def check_same_grid(
    source: Grid, target: Grid, name: str, reference: str, *, may_be_part: bool = False
) -> Placement:
    """Find the way of data to a grid, or refuse them by their grid alone; see `bring_to_grid`.

    Raises:
        GeometryError: on another grid; names both.
    """
    placement = find_placement(source, target)
    if placement is not None and (placement.is_whole or may_be_part):
        return placement
    if placement is None:
        found = "one with voxels at other positions"
    elif any(placement.start):
        found = f"one that begins {placement.start} voxels away"
    else:
        found = "one of a different size"
    raise GeometryError(
        f"{name}: expected the grid of {reference}, axes in any order ({describe_grid(target)}), found {found} "
        f"({describe_grid(source)}); export it again with {reference} as reference, or resample it to that grid."
    )


def rounding_mm(grid: Grid) -> float:
    """Return the largest distance in mm from a voxel of a grid that is explained by rounding."""
    return min(TOLERANCE_MM, _LARGEST_SHARE * min(grid.spacing))


def corner_distance_mm(first: Grid, second: Grid) -> float:
    """Return the largest distance in mm between the corners of two fields of view of one shape."""
    ends = [(-0.5, size - 0.5) for size in first.shape]
    corners = np.array(list(product(*ends)))
    return float(np.linalg.norm(first.to_world(corners) - second.to_world(corners), axis=1).max())


def describe_grid(grid: Grid) -> str:
    """Return a grid in words, for messages: shape, spacing, orientation, origin."""
    shape = ", ".join(str(size) for size in grid.shape)
    spacing = ", ".join(f"{size:.4g}" for size in grid.spacing)
    origin = ", ".join(f"{place:.2f}" for place in grid.affine[:3, 3])
    codes = "".join(grid.axis_codes)
    return f"shape ({shape}), spacing ({spacing}) mm, axes {codes}, origin ({origin}) mm"


def _box(first: np.ndarray, last: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))


def _three(values: np.ndarray) -> tuple[int, int, int]:
    i, j, k = (int(value) for value in values)
    return i, j, k


def _flags(values: np.ndarray) -> tuple[bool, bool, bool]:
    i, j, k = (bool(value) for value in values)
    return i, j, k
