"""Label maps and lesion masks with known truth, cut from the ICBM template itself."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from strokelabel.synthesis.prepared.icbm import icbm_template

IDS = {"left": {"white": 2, "gray": 3, "ventricle": 4}, "right": {"white": 41, "gray": 42, "ventricle": 43}}


def icbm_label_map():
    """FreeSurfer ids on the ICBM 1 mm grid (x, y, z): the template's intensities cut into three tissues."""
    template = icbm_template()
    smooth = ndimage.gaussian_filter(template.image, 1.0)
    x = template.affine[0, 3] + np.arange(template.shape[0])
    left = np.broadcast_to((x < 0)[:, None, None], template.shape)
    labels = np.zeros(template.shape, dtype=np.int16)
    for side, on_side in (("left", left), ("right", ~left)):
        ids = IDS[side]
        inside = template.brain & on_side
        labels[inside] = ids["gray"]
        labels[inside & (smooth > 0.76)] = ids["white"]
        labels[inside & (smooth < 0.42)] = ids["ventricle"]
    return labels


def head_at(to_icbm, affine, shape):
    """The ICBM label map as it looks on another head's grid (nearest neighbour).

    Args:
        to_icbm: RAS mm of the head to ICBM RAS mm (4, 4).
        affine: voxel index of the head's grid to its RAS mm.
        shape: of the head's grid.
    """
    matrix = np.linalg.inv(icbm_template().affine) @ to_icbm @ affine
    return ndimage.affine_transform(
        icbm_label_map(), matrix[:3, :3], matrix[:3, 3], output_shape=shape, order=0, prefilter=False
    )


def rigid(degrees, translation=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0)):
    """(4, 4): scale, then rotate by angles about x, y, z, then translate."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(4)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    matrix[:3, :3] = matrix[:3, :3] @ np.diag(scale)
    matrix[:3, 3] = translation
    return matrix


def ellipsoid(center_mm, radii_mm, affine, shape):
    """A mask (i, j, k) of an ellipsoid along the world's axes."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return (((world - center_mm) / radii_mm) ** 2).sum(axis=-1) <= 1.0


def write(path: Path, volume, affine):
    """Write a NIfTI file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(volume, affine).to_filename(path)
    return path
