"""Changing the outline of a mask, with lengths in mm whatever the voxels' size, and interpolation between slices."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..errors import OperationError
from .islands import bounding_box


def change_margin(mask: np.ndarray, spacing_mm: np.ndarray, margin_mm: float) -> np.ndarray:
    """Grow a mask by so many mm, or shrink it if negative.

    A voxel is added (removed) when its centre lies at most that far from the centre of a voxel inside (outside).

    Raises:
        OperationError: more than 50 mm.
    """
    if not abs(margin_mm) <= 50:
        raise OperationError(f"Expected a margin of at most 50 mm, found {margin_mm}.")
    box = _box(mask, spacing_mm, abs(margin_mm))
    result = mask.copy()
    if box is None or margin_mm == 0:
        return result
    inner = mask[box]
    if margin_mm > 0:
        result[box] = ndimage.distance_transform_edt(~inner, spacing_mm) <= margin_mm
    else:
        # the image's border is no edge of the lesion
        padded = np.pad(inner, 1, mode="edge")
        distance = ndimage.distance_transform_edt(padded, spacing_mm)[1:-1, 1:-1, 1:-1]
        result[box] = distance > -margin_mm
    return result


def smooth(mask: np.ndarray, spacing_mm: np.ndarray, radius_mm: float) -> np.ndarray:
    """Round off a mask by a Gaussian of standard deviation `radius_mm` / 2, keeping its volume to the voxel.

    Raises:
        OperationError: no radius above 0 and up to 20 mm.
    """
    if not 0 < radius_mm <= 20:
        raise OperationError(f"Expected a radius above 0 and up to 20 mm, found {radius_mm}.")
    box = _box(mask, spacing_mm, 2 * radius_mm)
    result = mask.copy()
    if box is None:
        return result
    blurred = ndimage.gaussian_filter(mask[box].astype(np.float32), radius_mm / 2 / np.asarray(spacing_mm))
    inside = int(np.count_nonzero(mask))
    kept = np.argsort(-blurred, axis=None, kind="stable")[:inside]
    smoothed = np.zeros(blurred.size, bool)
    smoothed[kept] = True
    result[box] = smoothed.reshape(blurred.shape)
    return result


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill all holes of the mask."""
    box = bounding_box(mask)
    result = mask.copy()
    if box is not None:
        result[box] = ndimage.binary_fill_holes(mask[box])
    return result


def _box(mask: np.ndarray, spacing_mm: np.ndarray, reach_mm: float) -> tuple[slice, ...] | None:
    voxels = np.ceil(reach_mm / np.asarray(spacing_mm)).astype(int) + 1
    return bounding_box(mask, tuple(int(n) for n in voxels))


def fill_between_slices(mask: np.ndarray, axis: int = 2) -> np.ndarray:
    """Interpolate the outline between painted slices.

    Signed distances to the outline are interpolated linearly between neighbours that are painted (Raya and Udupa,
    "Shape-based interpolation of multidimensional objects", IEEE TMI 1990). Slices that are painted stay.

    Args:
        mask: booleans (i, j, k).
        axis: across the slices.

    Raises:
        OperationError: fewer than two painted slices.
    """
    stack = np.moveaxis(mask, axis, 0)
    painted = np.flatnonzero(stack.any(axis=(1, 2)))
    if painted.size < 2:
        raise OperationError("Paint the lesion on at least two slices first; those between are filled.")
    result = stack.copy()
    for first, last in zip(painted[:-1], painted[1:]):
        if last - first > 1:
            near, far = _signed_distance(stack[first]), _signed_distance(stack[last])
            for index in range(first + 1, last):
                share = (index - first) / (last - first)
                result[index] = (1 - share) * near + share * far < 0
    return np.moveaxis(result, 0, axis)


def _signed_distance(slice_: np.ndarray) -> np.ndarray:
    """Return the distance to the outline in voxels: negative inside."""
    return ndimage.distance_transform_edt(~slice_) - ndimage.distance_transform_edt(slice_)
