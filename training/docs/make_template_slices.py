"""Make `strokelabel/physics/template_slices.png`, the slices of the sample head that simulations show.

    python training/docs/make_template_slices.py

The fractions of gray and white matter are those of the ICBM 2009a template inside the nilearn package (nothing is
downloaded); its notice is written into the file.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from strokelabel.physics.template_slices import LESION_MM

TARGET = Path(__file__).parents[1] / "strokelabel/physics/template_slices.png"
NOTICE = (
    "Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill "
    "University. Permission to use, copy, modify, and distribute this software and its documentation for any purpose "
    "and without fee is hereby granted, provided that the above copyright notice appear in all copies. The authors "
    "and McGill University make no representations about the suitability of this software for any purpose. It is "
    'provided "as is" without express or implied warranty. The authors are not responsible for any data loss, '
    "equipment damage, property loss, or injury to subjects or patients resulting from the use or misuse of this "
    "software package."
)

_RADII_MM = (11.0, 17.0, 12.0)
_EDGE_MM = 1.0
_SHARPENING = 2.2
"""Power of the fractions: the average of many brains has blurred folds."""

_LEAST_CSF = 0.05
_MARGIN_VOXELS = 3


def main() -> None:
    """Write the picture: a row for each tissue, the planes side by side, white where a voxel is all of the tissue."""
    tissues, affine = _template()
    x, y, z = (round((mm - affine[axis, 3]) / affine[axis, axis]) for axis, mm in enumerate(LESION_MM))
    fractions = _with_lesion(tissues, affine)
    # Axes are x to the right, y to the front, z to the top. Rows go from the top (or the front) down, columns from the
    # patient's right to their left, or from the front to the back.
    planes = {
        "axial": _cut(fractions[:, ::-1, ::-1, z].transpose(0, 2, 1)),
        "coronal": _cut(fractions[:, ::-1, y, ::-1].transpose(0, 2, 1)),
        "sagittal": _cut(fractions[:, x, ::-1, ::-1].transpose(0, 2, 1)),
    }
    tallest = max(plane.shape[1] for plane in planes.values())
    padded = [np.pad(plane, ((0, 0), (0, tallest - plane.shape[1]), (0, 0))) for plane in planes.values()]
    rows = np.concatenate(padded, axis=2).reshape(-1, sum(plane.shape[2] for plane in padded))
    about = PngImagePlugin.PngInfo()
    about.add_text("planes", json.dumps({name: plane.shape[1:] for name, plane in planes.items()}))
    about.add_text("Copyright", NOTICE)
    Image.fromarray(np.round(255 * rows).astype(np.uint8)).save(TARGET, optimize=True, pnginfo=about)


def _template() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return fractions of gray and white matter and fluid, (3, x, y, z), zero outside the brain, and the affine."""
    inside = np.asarray(load_mni152_brain_mask(resolution=1).dataobj) > 0
    gray, white = load_mni152_gm_template(resolution=1), load_mni152_wm_template(resolution=1)
    matter = np.stack([image.get_fdata(dtype=np.float32) for image in (gray, white)])
    matter = np.clip(matter, 0, 1) * inside
    fluid = np.clip(1 - matter.sum(axis=0), 0, 1)
    fluid = np.where(fluid < _LEAST_CSF, 0, fluid) * inside
    fractions = np.concatenate([matter, fluid[None]]) ** _SHARPENING
    fractions *= inside / np.maximum(fractions.sum(axis=0), 1e-6)
    return fractions.astype(np.float32), np.asarray(gray.affine, dtype=np.float64)


def _with_lesion(tissues: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the fractions with that of the lesion, which replaces gray and white matter, not fluid."""
    grids = np.ogrid[tuple(slice(size) for size in tissues.shape[1:])]
    distance = np.sqrt(
        sum(
            ((affine[axis, axis] * grid + affine[axis, 3] - LESION_MM[axis]) / _RADII_MM[axis]) ** 2
            for axis, grid in enumerate(grids)
        )
    )
    inside = 1 / (1 + np.exp(np.clip((distance - 1) * min(_RADII_MM) / _EDGE_MM, -40, 40)))
    lesion = inside * tissues[:2].sum(axis=0)
    matter = tissues[:2] * (1 - inside)
    return np.concatenate([matter, tissues[2:], lesion[None]]).astype(np.float32)


def _cut(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the part of a plane (tissue, row, column) that holds the head, with a margin."""
    head = plane.sum(axis=0) > 0
    rows, columns = (np.flatnonzero(head.any(axis=1 - axis)) for axis in range(2))
    margin, (height, width) = _MARGIN_VOXELS, head.shape
    top, left = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
    bottom, right = min(rows[-1] + margin + 1, height), min(columns[-1] + margin + 1, width)
    return np.ascontiguousarray(plane[:, top:bottom, left:right])


if __name__ == "__main__":
    main()
