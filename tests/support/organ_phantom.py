"""Images of an organ with a few labels: two chambers and a wall, among tissue that no label names."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (36, 44, 30)
LEFT, RIGHT, WALL = 420, 550, 205
"""Labels; more than one byte holds, as those of published hearts are."""

TABLE = f"index\tname\tside\n{LEFT}\tleft chamber\tleft\n{RIGHT}\tright chamber\tright\n{WALL}\twall\t\n"


def oblique_affine(spacing_mm=(2.5, 2.0, 3.0), turn=0.2, center_mm=(20.0, -30.0, 11.0)):
    """Voxel index to RAS mm: axes of unequal spacing, stored from right to left, turned about z."""
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([-spacing_mm[0], *spacing_mm[1:]])
    affine[:3, 3] = np.array(center_mm) - affine[:3, :3] @ (np.array(SHAPE) - 1) / 2
    return affine


def organ(seed=0, affine=None):
    """Intensities and labels (i, j, k), and the affine: air, fat, lung and bone are all background."""
    rng = np.random.default_rng(seed)
    affine = oblique_affine() if affine is None else affine
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    mm = (index - (np.array(SHAPE) - 1) / 2) @ affine[:3, :3].T + rng.uniform(-2, 2, 3)
    body = np.sqrt(((mm / [40.0, 38.0, 42.0]) ** 2).sum(-1))
    wall = np.sqrt(((mm / [24.0, 22.0, 26.0]) ** 2).sum(-1)) < 1
    image = np.where(body < 1, 120.0, 0.0)
    image[(body > 0.85) & (body < 1)] = 220
    image[(body < 0.85) & (mm[..., 2] > 22)] = 40
    labels = np.where(wall, WALL, 0)
    image[wall] = 90
    for label, sign, value in ((LEFT, -1, 180), (RIGHT, 1, 160)):
        inside = ((mm - [sign * 10.0, 0, 0]) ** 2).sum(-1) < 8.0**2
        labels[inside] = label
        image[inside] = value
        image[inside & (mm[..., 2] > 0)] -= 60  # papillary muscle, which its label does not tell from blood
    return (image + rng.normal(0, 4, SHAPE)).astype(np.float32), labels.astype(np.int16), affine


def write_organs(folder: Path, count=4, table=TABLE) -> Path:
    """Write heart-01.nii.gz with heart-01_dseg.nii.gz and so on, and dseg.tsv unless the table is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        image, labels, affine = organ(number)
        nib.Nifti1Image(image, affine).to_filename(folder / f"heart-{number:02d}.nii.gz")
        nib.Nifti1Image(labels, affine).to_filename(folder / f"heart-{number:02d}_dseg.nii.gz")
    if table:
        (folder / "dseg.tsv").write_text(table)
    return folder
