"""Tissue classes of the ICBM template's brain with a ball of lesion, as a scanner's grid shows them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template
from scipy import ndimage

from strokelabel.labels import TissueClass
from strokelabel.synthesis.prepared.icbm import icbm_template


@lru_cache(maxsize=1)
def template_classes() -> np.ndarray:
    """Return the `TissueClass` of each voxel of the ICBM grid, (x, y, z)."""
    gray, white = (
        load(resolution=1).get_fdata() for load in (load_mni152_gm_template, load_mni152_wm_template)
    )
    brain = icbm_template().brain
    kinds = [TissueClass.CSF, TissueClass.GRAY_MATTER, TissueClass.WHITE_MATTER]
    likeliest = np.argmax([np.full(gray.shape, 0.3), gray, white], axis=0)
    return np.where(brain, np.array(kinds)[likeliest], 0).astype(np.uint8)


def seen(
    shape: tuple[int, int, int],
    affine: np.ndarray,
    head_to_icbm: np.ndarray,
    centre: tuple[float, float, float],
    radius: float = 14.0,
) -> np.ndarray:
    """Return the classes of a head on a grid, (i, j, k), by nearest neighbours.

    Args:
        shape: of the grid.
        affine: its voxel index to RAS mm.
        head_to_icbm: RAS mm to ICBM RAS mm.
        centre: of the lesion, ICBM mm.
        radius: of it, ICBM mm; 0 for none.
    """
    template = icbm_template()
    classes = template_classes().copy()
    x, y, z = (
        template.affine[axis, axis] * place + template.affine[axis, 3]
        for axis, place in enumerate(np.ogrid[tuple(map(slice, classes.shape))])
    )
    ball = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < radius**2
    classes[ball & (classes > 0)] = TissueClass.LESION
    chain = np.linalg.inv(template.affine) @ head_to_icbm @ affine
    return ndimage.affine_transform(classes, chain[:3, :3], chain[:3, 3], output_shape=shape, order=0)
