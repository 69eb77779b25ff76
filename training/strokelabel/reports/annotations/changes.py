"""What an annotator changed in a predicted label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strokelabel.errors import LabelMapError
from strokelabel.io.label_files import lesion_value, read_label_values
from strokelabel.metrics import dice
from strokelabel.types import Affine, Mask

_SAME_GRID = 0.1
"""Voxels that the corners of two grids may lie apart and still be one: viewers round affines to float32."""


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
    """The lesion in a label file.

    Attributes:
        mask: (i, j, k).
        affine: voxel index to RAS mm.
    """

    mask: Mask
    affine: Affine

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

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
    values, affine = read_label_values(path)
    value = lesion_value(info)
    return LesionLabel(values > 0 if value is None else values == value, affine)


def compare(predicted: LesionLabel, submitted: LesionLabel) -> LabelChange:
    """What was changed, on the grid of the submitted label.

    Raises:
        LabelMapError: the two are on different grids; axes in another order or direction are no difference.
    """
    before = _on_grid(predicted, submitted)
    after, voxel_ml = submitted.mask, submitted.voxel_ml
    return LabelChange(
        dice=dice(after, before),
        before_ml=float(np.count_nonzero(before)) * voxel_ml,
        after_ml=submitted.volume_ml,
        added_ml=float(np.count_nonzero(after & ~before)) * voxel_ml,
        removed_ml=float(np.count_nonzero(before & ~after)) * voxel_ml,
    )


def _on_grid(label: LesionLabel, like: LesionLabel) -> Mask:
    """A mask with its axes in the order and direction of another label's."""
    to_other = np.linalg.inv(like.affine) @ label.affine
    whole = np.round(to_other)
    turned = np.array_equal(np.sort(np.abs(whole[:3, :3]).ravel()), [0] * 6 + [1] * 3)
    if turned:
        axes = np.abs(whole[:3, :3]).argmax(axis=1)
        signs = whole[np.arange(3), axes]
        mask = np.transpose(label.mask, axes)[tuple(slice(None, None, int(sign)) for sign in signs)]
        start = np.where(
            signs < 0, np.array(mask.shape) - 1, 0
        )  # index that lands on the other's first voxel
        drift = np.abs((to_other - whole)[:3, :3]) @ np.array(label.mask.shape)
        apart = np.abs(to_other[:3, 3] - start) + drift
        if mask.shape == like.mask.shape and apart.max() <= _SAME_GRID:
            return mask
    raise LabelMapError(
        f"expected prediction and label on one grid, found shapes {label.mask.shape} and {like.mask.shape} "
        "or different places"
    )
