"""Which lesions were found: each connected component counts once, whatever its size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strokelabel.metrics.lesions import label_lesions
from strokelabel.metrics.overlap import check_same_shape


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
        """Lesion-wise F1, 2 found / (2 found + missed + invented); `empty` where there is no lesion at all."""
        total = 2 * self.found + self.missed + self.invented
        return 2 * self.found / total if total else empty


def detect_lesions(reference: np.ndarray, prediction: np.ndarray) -> LesionDetection:
    """Count found, missed and invented lesions of two masks on the same grid.

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
