"""Grid for the comparison of two masks: 1 mm, 256³, about the middle of the reference, as in the papers.

Masks come to it by their positions in space (their affines), never by their indices, so that it makes no
difference how a file stores its axes.
"""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np
from scipy.ndimage import affine_transform

from strokelabel.geometry import CanonicalGrid, CropBox, Grid, box_around

SPACING_MM: Final = 1.0
SIDE: Final = 256
"""Voxels along each axis."""

_OFF_CENTRE: Final = 1e-3
"""Masks are read this far, in voxels, beside the voxels' centres. Where a centre lies between two voxels of a mask,
rounding would otherwise decide, and differently for files with flipped axes."""


def common_grid(reference: Grid) -> Grid:
    """Return the 256³ grid of 1 mm in which a reference and its predictions are compared.

    Its axes are the reference's own, turned to the closest right-anterior-superior order; the reference is padded or
    cropped about its middle.
    """
    canonical = CanonicalGrid.for_image(reference.shape, reference.affine, SPACING_MM).target
    x, y, z = (-((SIDE - size) // 2) for size in canonical.shape)
    return canonical.window((x, y, z), (SIDE, SIDE, SIDE))


def resample_mask(mask: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """Bring a mask to another grid, by nearest neighbour in space.

    Args:
        mask: (i, j, k) on the grid `source`; not zero inside.
        source: where the mask is.
        target: where it should be.

    Returns:
        Booleans of the target's shape; false outside the source.
    """
    result = np.zeros(target.shape, dtype=bool)
    inside = mask.astype(bool)
    if not inside.any():
        return result
    lesion = box_around(inside)
    box = _inside(lesion, source, target)
    if min(box.shape) < 1:
        return result
    start = tuple(first - 1 for first in lesion.start)
    stop = tuple(last + 1 for last in lesion.stop)
    ring = CropBox(lesion.full_shape, _triple(start), _triple(stop))  # false all round, for what is outside
    window = box.grid(target)
    way = np.linalg.inv(ring.grid(source).affine) @ window.affine
    shift = way[:3, 3] + way[:3, :3] @ np.full(3, _OFF_CENTRE)
    part = affine_transform(
        ring.crop(inside).astype(np.uint8), way[:3, :3], shift, output_shape=window.shape, order=0
    )
    return box.paste(part.astype(bool), fill=False)


def reaches_outside(mask: np.ndarray, source: Grid, target: Grid) -> bool:
    """Return whether part of a mask lies beyond a grid, so that `resample_mask` loses it."""
    if not mask.any():
        return False
    low, high = _extent(box_around(mask.astype(bool)), source, target)
    return bool((low < -0.5).any() or (high > np.array(target.shape) - 0.5).any())


def fields_overlap(first: Grid, second: Grid) -> bool:
    """Return whether the fields of view of two grids overlap, as boxes along the second's axes."""
    whole = CropBox(first.shape, (0, 0, 0), first.shape)
    low, high = _extent(whole, first, second)
    return bool((high > -0.5).all() and (low < np.array(second.shape) - 0.5).all())


def _extent(box: CropBox, source: Grid, target: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest index (3,) in the target grid of the outer corners of a box of source voxels."""
    corners = np.array(list(product(*zip(box.start, box.stop, strict=True)))) - 0.5
    found = target.to_voxel(source.to_world(corners))
    return found.min(axis=0), found.max(axis=0)


def _inside(box: CropBox, source: Grid, target: Grid) -> CropBox:
    """Return the target's voxels that a box of source voxels may reach."""
    low, high = _extent(box, source, target)
    start = np.clip(np.floor(low).astype(int) - 1, 0, target.shape)
    stop = np.clip(np.ceil(high).astype(int) + 2, 0, target.shape)
    return CropBox(target.shape, _triple(start), _triple(np.maximum(start, stop)))


def _triple(values: np.ndarray | tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = (int(value) for value in values)
    return x, y, z
