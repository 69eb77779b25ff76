"""Pseudo-labels as lesions of synthetic images, and their place in ICBM space by the tissues around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strokelabel.errors import DataError, ImageError, RecipeError
from strokelabel.fit.data.annotated_scans.config import PseudoLabelConfig
from strokelabel.fit.pseudo_labels.record import PseudoLabel, read_pseudo_labels
from strokelabel.geometry import CanonicalGrid, Grid
from strokelabel.io.volumes import read_volume
from strokelabel.labels import CLASS_NAMES, TissueClass
from strokelabel.synthesis.lesions.bank import Lesion, LesionBank
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.synthesis.prepared.registration import T1_INTENSITY, Registration, register_picture
from strokelabel.synthesis.prepared.source_files import crop_to_mask, fingerprint, near_brain, place_on_grid
from strokelabel.types import Affine, LabelVolume, Mask

_GRAY, _WHITE = T1_INTENSITY["gray"], T1_INTENSITY["white"]

CLASS_INTENSITY: dict[TissueClass, float] = {
    TissueClass.BACKGROUND: 0.0,
    TissueClass.GRAY_MATTER: _GRAY,
    TissueClass.PARTIAL_VOLUME: (_GRAY + _WHITE) / 2,
    TissueClass.WHITE_MATTER: _WHITE,
    TissueClass.CSF: T1_INTENSITY["csf"],
    TissueClass.LESION: (_GRAY + _WHITE) / 2,
}
"""Grey values of a T1-weighted scan. A lesion is painted as the tissue that was there: the template has none."""

_BRAIN = (
    TissueClass.GRAY_MATTER,
    TissueClass.PARTIAL_VOLUME,
    TissueClass.WHITE_MATTER,
    TissueClass.LESION,
)

_LEAST_BRAIN_ML = 100.0
"""With less brain than this nothing can be aligned."""

_SHARE = 0.25
"""Share of the voxels that a masked alignment compares."""


def has_tissues(class_names: tuple[str, ...]) -> bool:
    """Return whether a model predicts the tissues that an alignment needs."""
    return class_names == CLASS_NAMES


def align_with_icbm(labels: LabelVolume, grid: Grid, *, masked: bool = False) -> Registration | None:
    """Return the affine map from a scan to ICBM space.

    Args:
        labels: `TissueClass` of each voxel, (i, j, k), on a grid of any orientation and spacing.
        grid: that grid.
        masked: do not compare lesions with the template, which has none; faster, as fewer voxels are compared.

    Returns:
        The map and how well it fits; None where next to no brain was predicted.
    """
    canonical = CanonicalGrid.for_image(grid.shape, grid.affine, 1.0)
    classes = canonical.forward_labels(labels)
    brain = np.isin(classes, _BRAIN)
    if brain.sum() / 1000 < _LEAST_BRAIN_ML:
        return None
    intensities = np.array([CLASS_INTENSITY[label] for label in TissueClass], dtype=np.float32)
    picture, affine = intensities[classes], canonical.target.affine
    if not masked:
        return register_picture(picture, brain, affine)
    return register_picture(picture, brain, affine, classes != TissueClass.LESION, _SHARE)


def place_in_icbm(mask: Mask, index_to_icbm: Affine) -> NDArray[np.bool_]:
    """Return a mask (i, j, k) on the ICBM 1 mm grid (x, y, z), given the map from its voxels to ICBM mm."""
    template = icbm_template()
    if not mask.any():
        return np.zeros(template.shape, dtype=bool)
    return place_on_grid(mask, np.linalg.inv(template.affine) @ index_to_icbm, template.shape)


def fraction_inside(mask: Mask, index_to_icbm: Affine) -> float:
    """Return the fraction of a mask, not empty, that lies in or near the template's brain; 0 to about 1."""
    template = icbm_template()
    placed = place_in_icbm(mask, index_to_icbm)
    whole = mask.sum() * abs(np.linalg.det(index_to_icbm[:3, :3]) / np.linalg.det(template.affine[:3, :3]))
    return min(float((placed & near_brain()).sum() / whole), 1.0)


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
        image = read_volume(path, np.float32)
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
