"""Pseudo-labels as lesions of synthetic images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from strokelabel.errors import DataError, ImageError, RecipeError
from strokelabel.fit.data.annotated_scans.config import PseudoLabelConfig
from strokelabel.fit.pseudo_labels.alignment import place_in_icbm
from strokelabel.fit.pseudo_labels.record import PseudoLabel, read_pseudo_labels
from strokelabel.io.nifti import read_nifti
from strokelabel.synthesis.lesions.bank import Lesion, LesionBank
from strokelabel.synthesis.prepared.lesion_mask import crop_to_mask
from strokelabel.synthesis.prepared.prepare import fingerprint

SOURCE = "pseudo-labels"
"""Data set that the lesions of a bank name as their source."""


def with_pseudo_lesions(bank: LesionBank, config: PseudoLabelConfig, minimum_ml: float = 0.0) -> LesionBank:
    """Append the masks of a folder of pseudo-labels to a bank's lesions.

    Args:
        bank: lesions in ICBM space.
        config: the folder, and whether its quality gate counts for masks that no annotator judged.
        minimum_ml: smaller lesions, measured in ICBM space, are left out.

    Raises:
        RecipeError: the recipe names no folder.
        DataError: the folder holds no pseudo-labels, or none of them is usable.
    """
    if config.folder is None:
        raise RecipeError(
            "pseudo_labels.folder: expected a folder written by `strokelabel pseudo-label`, this recipe needs one; "
            "name it with --pseudo-labels"
        )
    labels = read_pseudo_labels(config.folder)
    usable = [label for label in labels if label.is_mapped and label.trains(config.gate)]
    placed = [lesion for label in usable if (lesion := _place(label, config.folder)) is not None]
    voxel_ml = abs(float(np.linalg.det(bank.affine[:3, :3]))) / 1000
    lesions = [lesion for lesion in placed if lesion.mask.sum() * voxel_ml >= minimum_ml]
    if not lesions:
        raise DataError(
            f"{config.folder}: expected usable pseudo-labels, found {len(labels)}, of which {len(usable)} "
            f"{'were accepted' if config.gate else 'are mapped to ICBM space'} and none has {minimum_ml:g} ml or more"
        )
    own = [bank.lesion(index) for index in range(len(bank))]
    return LesionBank.from_lesions([*own, *lesions], bank.grid_shape, bank.affine)


def _place(label: PseudoLabel, folder: Path) -> Lesion | None:
    """Return a mask on the ICBM grid; None if it lies outside."""
    path = folder / label.mask
    try:
        image = read_nifti(path, np.float32)
        sha256 = fingerprint(path)
    except (ImageError, OSError) as error:
        raise DataError(
            f"{path}: expected the mask that its record names ({error}); run pseudo-label again"
        ) from error
    placed = place_in_icbm(image.data > 0.5, np.asarray(label.to_icbm) @ image.affine)
    if not placed.any():
        return None
    offset, mask = crop_to_mask(placed)
    return Lesion(f"{SOURCE}_{Path(label.mask).name}", SOURCE, sha256, offset, mask)
