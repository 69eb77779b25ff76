"""False lesions outside the brain: air cells, marrow, muscles of the face and neck.

A lesion is dropped whole or kept whole, so that no infarct is ever cut, and kept where there is any doubt.
"""

from __future__ import annotations

import numpy as np

from strokelabel.metrics import label_lesions
from strokelabel.types import Mask, Volume

_LEAST_SHARE = 0.2
_LEAST_ML = 1.0
_LARGE_SHARE = 0.1
"""A lesion is kept with a fifth of itself or 1 ml in the brain, or with a tenth of the brain's volume. That leaves
room: false lesions of the face hardly touch the brain, large infarcts have tens of ml in it. What it costs and gains
is measured by `benchmarks/outside_brain.py`."""

_FAINT = 0.02
"""Around a dropped lesion its probability is cleared down to this, or another threshold would bring its edge back."""


def outside_brain(mask: Mask, brain: Mask, voxel_volume_ml: float) -> Mask:
    """Return the lesions (26-connected) of a mask that lie outside the brain.

    Args:
        mask: (i, j, k), lesions.
        brain: (i, j, k), see `brain_region`.
        voxel_volume_ml: volume of a voxel.
    """
    dropped = np.zeros_like(mask)
    box = _box_of(mask)
    if box is None:
        return dropped
    labels, count = label_lesions(mask[box])
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    within = np.bincount(labels[brain[box]], minlength=count + 1)
    kept = (
        (within >= _LEAST_SHARE * sizes)
        | (within * voxel_volume_ml >= _LEAST_ML)
        | (sizes >= _LARGE_SHARE * np.count_nonzero(brain))
    )
    kept[0] = True
    dropped[box] = ~kept[labels]
    return dropped


def faint_surroundings(probability: Volume, dropped: Mask, mask: Mask, brain: Mask, voxel_ml: float) -> Mask:
    """Return the dropped lesions and the faint probability around them, unless that leads to a lesion that is kept.

    Args:
        probability: (i, j, k) of lesion.
        dropped: (i, j, k), see `outside_brain`.
        mask: (i, j, k), the lesions that are kept.
        brain: (i, j, k).
        voxel_ml: volume of a voxel.
    """
    if not dropped.any():
        return dropped
    faint = outside_brain((probability >= _FAINT) | dropped, brain, voxel_ml)
    box = _box_of(faint)
    if box is None:
        return dropped
    labels, count = label_lesions(faint[box])
    of_dropped = np.zeros(count + 1, bool)
    of_dropped[labels[dropped[box]]] = True
    of_dropped[labels[mask[box]]] = False
    of_dropped[0] = False
    cleared = dropped.copy()
    cleared[box] |= of_dropped[labels]
    return cleared


def _box_of(mask: Mask) -> tuple[slice, slice, slice] | None:
    """Return the bounding box of a mask, found faster than by counting; None where it is empty."""
    columns = mask.any(axis=2)
    if not columns.any():
        return None
    i, j = _extent(columns.any(axis=1)), _extent(columns.any(axis=0))
    return i, j, _extent(mask[i, j].any(axis=(0, 1)))


def _extent(used: np.ndarray) -> slice:
    found = np.flatnonzero(used)
    return slice(int(found[0]), int(found[-1]) + 1)
