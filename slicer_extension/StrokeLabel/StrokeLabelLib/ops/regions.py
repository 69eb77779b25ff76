"""Connected components of a mask, measurements, and changes of its outline, with lengths in mm."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..errors import OperationError

_NEIGHBOURS = np.ones((3, 3, 3), bool)


def bounding_box(mask: np.ndarray, margin: tuple[int, ...] | int = 0) -> tuple[slice, ...] | None:
    """Return the box around a mask, wider by `margin` voxels within the image; None for an empty mask."""
    margins = (margin,) * mask.ndim if isinstance(margin, int) else margin
    sides: list[slice] = []
    inner = mask
    for axis in range(mask.ndim):  # each axis is searched only where the ones before found something
        others = tuple(a for a in range(mask.ndim) if a != axis)
        at = np.flatnonzero(inner.any(axis=others))
        if at.size == 0:
            return None
        first, last = int(at[0]), int(at[-1])
        inner = inner[(*[slice(None)] * axis, slice(first, last + 1))]
        sides.append(slice(max(0, first - margins[axis]), last + 1 + margins[axis]))
    return tuple(sides)


def label_islands(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Label the parts of a mask from 1; voxels that touch at corners are one part (26-connected).

    Returns:
        int32 (i, j, k), 0 outside; and how many there are.
    """
    labels = np.zeros(mask.shape, np.int32)
    box = bounding_box(mask)
    if box is None:
        return labels, 0
    count = ndimage.label(mask[box], _NEIGHBOURS, output=labels[box])
    return labels, int(count)


def middle_of_largest(mask: np.ndarray) -> tuple[int, int, int] | None:
    """Return a voxel of the largest part, close to its centre; None for an empty mask."""
    box = bounding_box(mask)
    if box is None:
        return None
    labels, _ = label_islands(mask[box])
    inside = np.argwhere(labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1)
    i, j, k = inside[np.argmin(((inside - inside.mean(axis=0)) ** 2).sum(axis=1))]
    return int(i) + box[0].start, int(j) + box[1].start, int(k) + box[2].start


def keep_largest(mask: np.ndarray, count: int) -> np.ndarray:
    """Keep the mask's largest parts.

    Raises:
        OperationError: a count below 1.
    """
    if count < 1:
        raise OperationError(f"Expected a number of parts of at least 1, found {count}.")
    labels, found = label_islands(mask)
    if found <= count:
        return mask.copy()
    sizes = np.bincount(labels.ravel())[1:]
    kept = np.zeros(found + 1, bool)
    kept[np.argsort(-sizes, kind="stable")[:count] + 1] = True
    return kept[labels]


def remove_small(mask: np.ndarray, min_ml: float, voxel_ml: float) -> np.ndarray:
    """Keep the mask's parts of at least `min_ml`.

    Raises:
        OperationError: a negative volume.
    """
    if not min_ml >= 0:
        raise OperationError(f"Expected a volume of at least 0 ml, found {min_ml}.")
    labels, _ = label_islands(mask)
    kept = np.bincount(labels.ravel()) * voxel_ml >= min_ml
    kept[0] = False
    return kept[labels]


def volume_ml(mask: np.ndarray, voxel_ml: float) -> float:
    """Return the volume of a mask (i, j, k) in ml."""
    return float(np.count_nonzero(mask)) * voxel_ml


def count_islands(mask: np.ndarray) -> int:
    """Return the number of parts that do not touch, not even at corners."""
    box = bounding_box(mask)
    return 0 if box is None else label_islands(mask[box])[1]


def island_volumes_ml(mask: np.ndarray, voxel_ml: float) -> list[float]:
    """Return the volumes of the parts in ml, largest first."""
    labels, _ = label_islands(mask)
    return sorted((float(n) * voxel_ml for n in np.bincount(labels.ravel())[1:]), reverse=True)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Return the overlap of two masks from 0 to 1; 1 if both are empty."""
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 1.0 if total == 0 else 2.0 * float(np.count_nonzero(a & b)) / total


LOW, HIGH = 0.3, 0.7


def uncertain_regions(probability: np.ndarray, min_voxels: int = 5) -> list[tuple[int, int, int]]:
    """Return one voxel in each connected region whose probability is between 0.3 and 0.7, largest region first.

    Args:
        probability: of lesion (i, j, k).
        min_voxels: smaller regions are left out: every outline has some.

    Returns:
        The voxel of each region that is nearest to 0.5.
    """
    labels, count = label_islands((probability > LOW) & (probability < HIGH))
    if count == 0:
        return []
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    inside = np.flatnonzero(labels.ravel())
    doubt = np.abs(probability.ravel()[inside] - 0.5)
    order = inside[np.lexsort((doubt, -sizes[labels.ravel()[inside]], labels.ravel()[inside]))]
    first = {int(labels.ravel()[at]): int(at) for at in order[::-1]}
    chosen = sorted((n for n in first if sizes[n] >= min_voxels), key=lambda n: -sizes[n])
    places = (np.unravel_index(first[n], probability.shape) for n in chosen)
    return [(int(i), int(j), int(k)) for i, j, k in places]


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
