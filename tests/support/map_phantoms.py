"""Quantitative maps of the ICBM template, as files of a "scan" that lies tilted and shifted in its own world."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from strokelabel.synthesis.prepared.icbm import icbm_template

STEP = 3
"""Every third voxel of the template."""

SHIFT_MM = np.array([7.0, -12.0, 15.0])


def world_from_icbm() -> np.ndarray:
    """ICBM mm to the scan's mm: a tilt of 6 degrees about x, and a shift."""
    c, s = np.cos(0.1), np.sin(0.1)
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[c, -s], [s, c]]
    matrix[:3, 3] = SHIFT_MM
    return matrix


def template_maps() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Maps by name with a muscle-like scalp around a dark skull, the brain's mask, and the affine; axes are L, P, S."""
    template = icbm_template()
    cut = (slice(None, None, -STEP), slice(None, None, -STEP), slice(None, None, STEP))
    image, brain = template.image[cut], template.brain[cut]
    skull = ndimage.binary_dilation(brain, iterations=2)
    scalp = ndimage.binary_dilation(brain, iterations=4) & ~skull
    r1 = np.interp(image, [0.0, 0.35, 0.5, 0.87], [0.2, 0.23, 0.55, 0.97])
    maps = {
        "PD": np.where(brain, 85 - 15 * image, 74 * scalp),
        "R1": np.where(brain, r1, 0.7 * scalp),
        "R2star": np.where(brain, 4 + 20 * image, 40 * scalp),
        "MT": np.where(brain, np.clip(2.2 * (r1 - 0.3), 0, None), 1.2 * scalp),
    }
    last = np.array([template.image.shape[0] - 1, template.image.shape[1] - 1, 0, 1])
    affine = template.affine @ np.diag([-STEP, -STEP, STEP, 1.0])
    affine[:, 3] = template.affine @ last
    return maps, brain, world_from_icbm() @ affine


def write_maps(folder: Path, stem: str = "scan", **more: np.ndarray) -> np.ndarray:
    """Write the maps, and any further volumes by the ending of their name; returns the brain's mask."""
    maps, brain, affine = template_maps()
    folder.mkdir(parents=True, exist_ok=True)
    for ending, values in (maps | more).items():
        kind = np.uint8 if values.dtype in (np.bool_, np.uint8) else np.float32
        nib.save(nib.Nifti1Image(values.astype(kind), affine), folder / f"{stem}_{ending}.nii.gz")
    return brain
