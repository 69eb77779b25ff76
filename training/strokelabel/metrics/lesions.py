"""Lesions as objects: connected components of a mask, their volumes, and which of them were found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cc3d
import numpy as np

from strokelabel.metrics.overlap import check_same_shape

CONNECTIVITY: Final = 26


def label_lesions(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Label the lesions of a mask.

    Args:
        mask: (i, j, k), true (or not zero) inside lesions.

    Returns:
        Integer array (i, j, k), 0 outside lesions and 1 to n inside; and n.
    """
    labels, count = cc3d.connected_components(
        np.ascontiguousarray(mask, dtype=bool), connectivity=CONNECTIVITY, return_N=True
    )
    return labels, int(count)


def lesion_volumes_ml(mask: np.ndarray, voxel_volume_ml: float) -> np.ndarray:
    """Return the volumes in ml of the lesions of a (i, j, k) mask, in the order of `label_lesions`."""
    labels, count = label_lesions(mask)
    return np.bincount(labels.ravel(), minlength=count + 1)[1:] * voxel_volume_ml


def volume_ml(mask: np.ndarray, voxel_volume_ml: float) -> float:
    """Return the volume in ml of a (i, j, k) mask: its voxels times the volume of one."""
    return int(np.count_nonzero(mask)) * voxel_volume_ml


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected component of a (i, j, k) mask, as booleans; all false where the mask is empty."""
    labels, count = label_lesions(mask)
    if count == 0:
        return np.zeros(mask.shape, dtype=bool)
    return labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))


@dataclass(frozen=True)
class LesionDetection:
    """Numbers of lesions (26-connected), counted as the ISLES'22 challenge does.

    Attributes:
        found: lesions of the reference of which at least one voxel is predicted.
        missed: lesions of the reference of which none is.
        invented: predicted lesions without a voxel of the reference.
        predicted: all predicted lesions.
    """

    found: int
    missed: int
    invented: int
    predicted: int

    @property
    def reference(self) -> int:
        """Number of lesions in the reference."""
        return self.found + self.missed

    @property
    def count_difference(self) -> int:
        """Absolute lesion difference |C(x) - C(y)| of SynthStroke's appendix A."""
        return abs(self.reference - self.predicted)

    def f1(self, empty: float = 1.0) -> float:
        """Return the lesion-wise F1, 2 found / (2 found + missed + invented); `empty` where there is no
        lesion at all.
        """
        total = 2 * self.found + self.missed + self.invented
        return 2 * self.found / total if total else empty


def detect_lesions(reference: np.ndarray, prediction: np.ndarray) -> LesionDetection:
    """Count true positive, false negative and false positive lesions of two masks on the same grid.

    Args:
        reference: (i, j, k), true (or not zero) inside lesions.
        prediction: (i, j, k), likewise.

    Raises:
        DimensionError: the masks differ in shape.
    """
    check_same_shape(reference, prediction)
    both = reference.astype(bool) & prediction.astype(bool)
    reference_labels, count = label_lesions(reference)
    predicted_labels, predicted = label_lesions(prediction)
    found = len(np.unique(reference_labels[both]))
    return LesionDetection(
        found=found,
        missed=count - found,
        invented=predicted - len(np.unique(predicted_labels[both])),
        predicted=predicted,
    )
