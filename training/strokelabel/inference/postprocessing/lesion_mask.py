"""Lesion mask from probabilities: threshold, holes and small lesions."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from strokelabel.inference.options import PredictionOptions
from strokelabel.metrics import label_lesions
from strokelabel.types import Mask, Volume


def lesion_mask(lesion: Volume, likeliest: Mask, voxel_volume_ml: float, options: PredictionOptions) -> Mask:
    """Decide which voxels are lesion.

    Args:
        lesion: (i, j, k) probability of lesion.
        likeliest: (i, j, k), whether lesion is the most likely class.
        voxel_volume_ml: volume of a voxel.
        options: threshold, hole filling, smallest size.
    """
    mask = above_threshold(lesion, likeliest, options)
    if options.fill_holes:
        mask = ndimage.binary_fill_holes(mask)
    if options.min_size_ml > 0:
        mask = drop_small_lesions(mask, options.min_size_ml, voxel_volume_ml)
    return mask


def above_threshold(lesion: Volume, likeliest: Mask, options: PredictionOptions) -> Mask:
    """Return the voxels at or above the threshold, or those whose most likely class is lesion; see `lesion_mask`."""
    return likeliest if options.threshold is None else lesion >= options.threshold


def drop_small_lesions(mask: Mask, min_size_ml: float, voxel_volume_ml: float) -> Mask:
    """Return a copy of a (i, j, k) mask without its lesions (26-connected) of less than `min_size_ml`."""
    labels, count = label_lesions(mask)
    sizes_ml = np.bincount(labels.ravel(), minlength=count + 1) * voxel_volume_ml
    kept = sizes_ml >= min_size_ml * (1 - 1e-9)
    kept[0] = False
    return kept[labels]
