"""Lesions as objects: connected components of a mask, their number and their volumes.

Two voxels that touch by a face, an edge or a corner belong to the same lesion (26-connectivity), as in the
ISLES'22 challenge.
"""

from __future__ import annotations

from typing import Final

import cc3d
import numpy as np

CONNECTIVITY: Final = 26


def label_lesions(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the lesions of a mask.

    Args:
        mask: (i, j, k), true (or not zero) inside lesions.

    Returns:
        Integer array (i, j, k), 0 outside lesions and 1 to n inside; and n.
    """
    labels, count = cc3d.connected_components(
        np.ascontiguousarray(mask, dtype=bool), connectivity=CONNECTIVITY, return_N=True
    )
    return labels, int(count)


def lesion_volumes_ml(mask: np.ndarray, voxel_volume_ml: float) -> np.ndarray:
    """Volumes in ml of the lesions of a (i, j, k) mask, in the order of `label_lesions`."""
    labels, count = label_lesions(mask)
    return np.bincount(labels.ravel(), minlength=count + 1)[1:] * voxel_volume_ml


def volume_ml(mask: np.ndarray, voxel_volume_ml: float) -> float:
    """Volume in ml of a (i, j, k) mask: its voxels times the volume of one."""
    return int(np.count_nonzero(mask)) * voxel_volume_ml


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest connected component of a (i, j, k) mask, as booleans; all false where the mask is empty."""
    labels, count = label_lesions(mask)
    if count == 0:
        return np.zeros(mask.shape, dtype=bool)
    return labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
