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
"""A lesion is kept with a fifth of itself or 1 ml in the brain, or with a tenth of the brain's volume. On the heads of
`benchmarks/outside_brain.py` false lesions of the face have 0 % in the brain and large infarcts 31 % at the least."""

_FAINT = 0.02
"""Around a dropped lesion its probability is cleared down to this, or another threshold would bring its edge back."""


def outside_brain(mask: Mask, brain: Mask, voxel_volume_ml: float) -> Mask:
    """The lesions (26-connected) of a mask that lie outside the brain.

    Args:
        mask: (i, j, k), lesions.
        brain: (i, j, k), see `brain_region`.
        voxel_volume_ml: volume of a voxel.
    """
    if not (mask & ~brain).any():
        return np.zeros_like(mask)
    labels, count = label_lesions(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    within = np.bincount(labels[brain], minlength=count + 1)
    kept = (
        (within >= _LEAST_SHARE * sizes)
        | (within * voxel_volume_ml >= _LEAST_ML)
        | (sizes >= _LARGE_SHARE * np.count_nonzero(brain))
    )
    kept[0] = True
    return ~kept[labels]


def faint_surroundings(probability: Volume, dropped: Mask, mask: Mask, brain: Mask, voxel_ml: float) -> Mask:
    """Dropped lesions and the faint probability around them, unless that leads to a lesion that is kept.

    Args:
        probability: (i, j, k) of lesion.
        dropped: (i, j, k), see `outside_brain`.
        mask: (i, j, k), the lesions that are kept.
        brain: (i, j, k).
        voxel_ml: volume of a voxel.
    """
    if not dropped.any():
        return dropped
    labels, count = label_lesions(outside_brain((probability >= _FAINT) | dropped, brain, voxel_ml))
    cleared = np.zeros(count + 1, bool)
    cleared[labels[dropped]] = True
    cleared[labels[mask]] = False
    cleared[0] = False
    return cleared[labels] | dropped
