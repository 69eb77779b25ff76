"""ICBM 152 space: the grid that lesions are stored on, and the template that brains are registered to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from strokelabel.types import Affine


@dataclass(frozen=True)
class IcbmTemplate:
    """Skull-stripped T1-weighted template at 1 mm.

    Attributes:
        image: intensities in [0, 1], (x, y, z), zero outside the brain.
        brain: True inside the template's brain mask, (x, y, z).
        affine: voxel index to ICBM RAS mm; axes are x to the right, y to the front, z to the top.
    """

    image: NDArray[np.float32]
    brain: NDArray[np.bool_]
    affine: Affine

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""
        x, y, z = self.image.shape
        return x, y, z


@lru_cache(maxsize=1)
def icbm_template() -> IcbmTemplate:
    """Load the template from nilearn's own files (no download)."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    template = load_mni152_template(resolution=1)
    brain = np.asarray(load_mni152_brain_mask(resolution=1).dataobj) > 0
    image = np.where(brain, template.get_fdata(dtype=np.float32), np.float32(0))
    return IcbmTemplate(image, brain, np.asarray(template.affine, dtype=np.float64))
