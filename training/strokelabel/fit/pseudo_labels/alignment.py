"""Position of a predicted lesion in ICBM space, by the tissues that were predicted around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strokelabel.geometry import CanonicalGrid, Grid
from strokelabel.labels import CLASS_NAMES, TissueClass
from strokelabel.synthesis.prepared.lesion_mask import near_brain, place_on_grid
from strokelabel.synthesis.prepared.registration import (
    T1_INTENSITY,
    Registration,
    icbm_template,
    register_picture,
)
from strokelabel.types import Affine, LabelVolume, Mask

_GRAY, _WHITE = T1_INTENSITY["gray"], T1_INTENSITY["white"]

CLASS_INTENSITY: dict[TissueClass, float] = {
    TissueClass.BACKGROUND: 0.0,
    TissueClass.GRAY_MATTER: _GRAY,
    TissueClass.PARTIAL_VOLUME: (_GRAY + _WHITE) / 2,
    TissueClass.WHITE_MATTER: _WHITE,
    TissueClass.CSF: T1_INTENSITY["csf"],
    TissueClass.LESION: (_GRAY + _WHITE) / 2,
}
"""Grey values of a T1-weighted scan. A lesion is painted as the tissue that was there: the template has none."""

_BRAIN = (
    TissueClass.GRAY_MATTER,
    TissueClass.PARTIAL_VOLUME,
    TissueClass.WHITE_MATTER,
    TissueClass.LESION,
)

_LEAST_BRAIN_ML = 100.0
"""With less brain than this nothing can be aligned."""


def has_tissues(class_names: tuple[str, ...]) -> bool:
    """Return whether a model predicts the tissues that an alignment needs."""
    return class_names == CLASS_NAMES


def align_with_icbm(labels: LabelVolume, grid: Grid) -> Registration | None:
    """Return the affine map from a scan to ICBM space.

    Args:
        labels: `TissueClass` of each voxel, (i, j, k), on a grid of any orientation and spacing.
        grid: that grid.

    Returns:
        The map and how well it fits; None where next to no brain was predicted.
    """
    canonical = CanonicalGrid.for_image(grid.shape, grid.affine, 1.0)
    classes = canonical.forward_labels(labels)
    brain = np.isin(classes, _BRAIN)
    if brain.sum() / 1000 < _LEAST_BRAIN_ML:
        return None
    intensities = np.array([CLASS_INTENSITY[label] for label in TissueClass], dtype=np.float32)
    return register_picture(intensities[classes], brain, canonical.target.affine)


def place_in_icbm(mask: Mask, index_to_icbm: Affine) -> NDArray[np.bool_]:
    """Return a mask (i, j, k) on the ICBM 1 mm grid (x, y, z), given the map from its voxels to ICBM mm."""
    template = icbm_template()
    if not mask.any():
        return np.zeros(template.shape, dtype=bool)
    return place_on_grid(mask, np.linalg.inv(template.affine) @ index_to_icbm, template.shape)


def fraction_inside(mask: Mask, index_to_icbm: Affine) -> float:
    """Return the fraction of a mask, not empty, that lies in or near the template's brain; 0 to about 1."""
    template = icbm_template()
    placed = place_in_icbm(mask, index_to_icbm)
    whole = mask.sum() * abs(np.linalg.det(index_to_icbm[:3, :3]) / np.linalg.det(template.affine[:3, :3]))
    return min(float((placed & near_brain()).sum() / whole), 1.0)
