"""The same voxels in all 48 orders and directions of axes."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np

ORIENTATIONS = [
    np.array(list(zip(order, signs, strict=True)))
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]
"""All 48 ways to order and direct three axes, as nibabel describes them."""

ORIENTATION_IDS = ["".join("ijk"[a] + "+-"[int(s < 0)] for a, s in turn.astype(int)) for turn in ORIENTATIONS]


def reordered(data: np.ndarray, affine: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels in another order of axes, and the affine that says so."""
    return nib.orientations.apply_orientation(data, turn), affine @ nib.orientations.inv_ornt_aff(
        turn, data.shape
    )


def shifted(affine: np.ndarray, *voxels: float) -> np.ndarray:
    """An affine moved along its axes by a number of voxels each."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ voxels
    return moved
