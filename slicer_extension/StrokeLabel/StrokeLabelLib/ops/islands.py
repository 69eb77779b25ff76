"""Parts of a mask that do not touch."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..errors import OperationError

_NEIGHBOURS = np.ones((3, 3, 3), bool)
REACH_MM = 30.0
"""Largest distance from a click at which a region is added."""

CERTAIN = 0.3


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


def remove_island(mask: np.ndarray, voxel: tuple[int, int, int], near: int = 2) -> np.ndarray:
    """Return the mask without the part at a voxel, or without the nearest one within `near` voxels.

    Raises:
        OperationError: there is none.
    """
    labels, _ = label_islands(mask)
    around = tuple(slice(max(0, n - near), n + near + 1) for n in voxel)
    candidates = np.argwhere(labels[around])
    if candidates.size == 0:
        raise OperationError("There is no lesion under the click; click on the part to remove.")
    corner = np.array([s.start for s in around])
    nearest = candidates[np.argmin(((candidates + corner - voxel) ** 2).sum(axis=1))] + corner
    return mask & (labels != labels[tuple(nearest)])


def add_region(
    mask: np.ndarray,
    voxel: tuple[int, int, int],
    image: np.ndarray,
    spacing_mm: np.ndarray,
    probability: np.ndarray | None = None,
) -> np.ndarray:
    """Return the mask with the region around a voxel.

    With a probability map: what is connected to the voxel and at least half as likely as it, or likelier than 0.3.
    Without, or where the model excludes a lesion: what is connected and as bright.
    Both end 30 mm away.

    Args:
        mask: booleans (i, j, k).
        voxel: the click.
        image: (i, j, k).
        spacing_mm: of the voxels.
        probability: (i, j, k).
    """
    reach = np.ceil(REACH_MM / np.asarray(spacing_mm)).astype(int)
    box = tuple(slice(max(0, n - r), n + r + 1) for n, r in zip(voxel, reach))
    at = tuple(n - s.start for n, s in zip(voxel, box))
    if probability is not None and probability[voxel] >= 0.02:
        likely = probability[box] >= min(float(probability[voxel]) / 2, CERTAIN)
    else:
        likely = _as_bright(image, box, at)
    labels, _ = ndimage.label(likely)  # by faces only, so that it does not leak through corners
    result = mask.copy()
    result[box] |= ndimage.binary_fill_holes(labels == labels[at])
    return result


def _as_bright(image: np.ndarray, box: tuple[slice, ...], at: tuple[int, ...]) -> np.ndarray:
    """Return the voxels of a box that are as bright as those around a click, within noise or a tenth of the image's
    range.
    """
    inner = image[box].astype(np.float32)
    around = inner[tuple(slice(max(0, n - 1), n + 2) for n in at)]
    low, high = np.percentile(image, (2, 98))
    tolerance = max(2.5 * float(around.std()), 0.1 * float(high - low), 1e-6)
    likely = np.abs(inner - np.median(around)) <= tolerance
    likely[at] = True
    return likely


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
