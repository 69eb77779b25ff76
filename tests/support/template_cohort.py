"""A data set of one scan: the ICBM template with a dark lesion, turned and moved."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from strokelabel.synthesis.prepared.icbm import icbm_template

LESION_MM, LESION_RADII_MM = np.array([-38.0, -20.0, 22.0]), np.array([14.0, 18.0, 14.0])
MASK = "sub-1_label-L_desc-T1wlesion_mask.nii.gz"


def moved() -> np.ndarray:
    """From ICBM space to where the scan lies."""
    angle = np.deg2rad(6)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = (8, -12, 5)
    return matrix


def write_template_cohort(folder: Path, *, with_mask: bool = False) -> Path:
    """Write the data set, voxels of 2 mm; return its folder.

    Args:
        folder: receives sub-1/anat/sub-1_T1w.nii.gz.
        with_mask: also write the mask of the lesion, beside the scan.
    """
    template = icbm_template()
    affine = template.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    image = template.image[::2, ::2, ::2].copy()
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), -1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    lesion = (((points - LESION_MM) / LESION_RADII_MM) ** 2).sum(-1) < 1
    image[lesion] = 0.22
    noise = np.random.default_rng(0).normal(0, 0.01, image.shape)
    place = folder / "sub-1" / "anat"
    place.mkdir(parents=True)
    scan = nib.Nifti1Image(np.clip(image + noise, 0, None).astype(np.float32), moved() @ affine)
    scan.to_filename(place / "sub-1_T1w.nii.gz")
    if with_mask:
        nib.Nifti1Image(lesion.astype(np.uint8), moved() @ affine).to_filename(place / MASK)
    return folder
