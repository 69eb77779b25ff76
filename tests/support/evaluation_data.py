"""Small data sets with lesion masks, named as published ones are, and predictions for them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from support.bright_network import centred_affine, phantom, rotation

SHAPE = (24, 30, 20)
AFFINE = centred_affine(rotation((5, 0, -10)) @ np.diag([-2.5, 2.5, 3.0]), SHAPE)
LESION_MM = (6.0, -9.0, 3.0)
RADIUS_MM = 10.0


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def write_scan(path: Path, lesion_mm: tuple[float, float, float] = LESION_MM) -> Path:
    return save(path, phantom(SHAPE, AFFINE, lesion_mm, RADIUS_MM)[0].data)


def write_mask(
    path: Path,
    lesion_mm: tuple[float, float, float] = LESION_MM,
    radius_mm: float = RADIUS_MM,
    value: int = 1,
    shape: tuple[int, int, int] = SHAPE,
    affine: np.ndarray = AFFINE,
) -> Path:
    ball = phantom(shape, affine, lesion_mm, radius_mm)[1]
    return save(path, (ball * value).astype(np.uint8), affine)


def write_dataset(folder: Path, subjects: int = 2) -> Path:
    """`folder/data` with a T1w and a FLAIR of each subject, each with its own mask."""
    for subject in range(1, subjects + 1):
        name, lesion = f"sub-{subject:02}", (6.0, 4.0 * subject - 12, 3.0)
        for suffix in ("T1w", "FLAIR"):
            write_scan(folder / "data" / name / "anat" / f"{name}_{suffix}.nii.gz", lesion)
            write_mask(
                folder
                / f"data/derivatives/truth/{name}/anat/{name}_space-orig_label-L_desc-{suffix}lesion_mask.nii.gz",
                lesion,
            )
    return folder / "data"


def write_predictions(folder: Path, subjects: int = 2, shift_mm: float = 4.0, ending: str = "_pred") -> Path:
    """Masks for `write_dataset`, some millimetres beside the truth."""
    for subject in range(1, subjects + 1):
        for suffix in ("T1w", "FLAIR"):
            lesion = (6.0 + shift_mm, 4.0 * subject - 12, 3.0)
            write_mask(folder / f"sub-{subject:02}_{suffix}{ending}.nii.gz", lesion)
    return folder
