"""Changes of an annotator in a predicted label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strokelabel.geometry import Grid, bring_to_grid
from strokelabel.io.label_files import LESION_NAME, lesion_value, read_label_file
from strokelabel.metrics import dice
from strokelabel.types import Affine, Mask


@dataclass(frozen=True)
class LabelChange:
    """From a predicted lesion to the submitted one.

    Attributes:
        dice: of the two; both empty 1, one empty 0 (`metrics.empty.ISLES_OVERLAP`).
        before_ml: volume of the predicted lesion.
        after_ml: volume of the submitted lesion.
        added_ml: what the annotator added.
        removed_ml: what the annotator removed.
    """

    dice: float
    before_ml: float
    after_ml: float
    added_ml: float
    removed_ml: float


@dataclass(frozen=True, eq=False)
class LesionLabel:
    """Lesion in a label file.

    Attributes:
        mask: (i, j, k).
        affine: voxel index to RAS mm.
    """

    mask: Mask
    affine: Affine

    @property
    def grid(self) -> Grid:
        """Shape and affine together."""
        i, j, k = self.mask.shape
        return Grid((i, j, k), self.affine)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return self.grid.voxel_volume_ml

    @property
    def volume_ml(self) -> float:
        """Volume of the lesion."""
        return float(np.count_nonzero(self.mask)) * self.voxel_ml


def read_lesion(path: Path, info: Mapping[str, Any]) -> LesionLabel:
    """Read what is lesion in a label.

    Args:
        path: NIfTI or NRRD.
        info: what its viewer or the infer task said about it; see `strokelabel.io.label_files.lesion_value`.

    Raises:
        ImageError: the file cannot be read.
        LabelMapError: it is not one label map, or names classes of which none is the lesion.
    """
    value = lesion_value(info)
    file = read_label_file(path, None if value is None else {LESION_NAME: value})
    return LesionLabel(file.data > 0 if value is None else file.data == value, file.affine)


def compare(predicted: LesionLabel, submitted: LesionLabel) -> LabelChange:
    """Return the changes, on the grid of the submitted label.

    Raises:
        GeometryError: the two are on different grids; axes in another order or direction are no difference.
    """
    before = bring_to_grid(predicted.mask, predicted.grid, submitted.grid, "prediction", "the label")
    after, voxel_ml = submitted.mask, submitted.voxel_ml
    return LabelChange(
        dice=dice(after, before),
        before_ml=float(np.count_nonzero(before)) * voxel_ml,
        after_ml=submitted.volume_ml,
        added_ml=float(np.count_nonzero(after & ~before)) * voxel_ml,
        removed_ml=float(np.count_nonzero(before & ~after)) * voxel_ml,
    )
