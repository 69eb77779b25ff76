"""A tiny folder laid out as the material of the real validation set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from strokelabel.io.slice_files import PLANES, View
from support.evaluation_data import write_mask, write_scan

SIDES = (58, 74, 50)
"""Voxels of 1 mm along x, y and z that slices are cut from."""

SUBJECTS = (7, 30, 12)


def write_material(folder: Path) -> Path:
    """Slices of three patients (lesions of 1.8 and 0.3 cm², and none) in three planes, and six scans."""
    (folder / "slices").mkdir(parents=True)
    for view in PLANES:
        _write_slices(folder / "slices" / f"soop-flair-validation_{view}.npz", view)
    scans = folder / "scans"
    write_scan(scans / "chronic-stroke_T2w.nii.gz")
    write_mask(scans / "chronic-stroke_T2w_rough-lesion.nii.gz")
    for kind in ("dwi", "adc"):
        write_scan(scans / f"acute-stroke_{kind}.nii.gz")
    write_mask(scans / "acute-stroke_lesion.nii.gz")
    write_scan(scans / "validation" / "sub-child1_T1w.nii.gz")
    write_scan(scans / "lesion-free" / "sub-ms04_study-1_FLAIR.nii.gz")
    write_scan(scans / "lesion-free" / "sub-adult2_desc-brain_T1w.nii.gz")
    return folder


def _write_slices(path: Path, view: View) -> None:
    rows, columns = (SIDES[axis] for axis in PLANES[view])
    x, y = np.meshgrid(np.arange(rows) - rows / 2, np.arange(columns) - columns / 2, indexing="ij")
    brain = (x / 24) ** 2 + (y / 23) ** 2 <= 1
    image, lesion = np.zeros((3, rows, columns), np.uint8), np.zeros((3, rows, columns), bool)
    image[:, brain] = 60
    for number, radius in enumerate((7.5, 3.0)):
        lesion[number] = (x - 6) ** 2 + (y + 4) ** 2 <= radius**2
    image[lesion] = 255
    np.savez_compressed(path, subject=np.array(SUBJECTS), image=image, lesion=np.packbits(lesion, axis=-1))
