"""Summary of an output, for the choice between a plain and an adapted one."""

from __future__ import annotations

from torch import Tensor

from strokelabel.adaptation.entropy import mean_entropy
from strokelabel.adaptation.safety import OutputSummary
from strokelabel.inference.segment.predictor import LESION
from strokelabel.registry import ModelSpec


def summarise(
    probabilities: Tensor,
    head: Tensor,
    spec: ModelSpec,
    objective: float | None = None,
    lesion_ml: float | None = None,
) -> OutputSummary:
    """Return what is compared of an output.

    Args:
        probabilities: (classes, x, y, z) in the shown box.
        head: (x, y, z) bool.
        spec: the model.
        objective: what the adaptation lowers; None for the entropy.
        lesion_ml: volume of the lesion on the scan's own grid; None for that in the box.
    """
    entropy = float(mean_entropy(probabilities, head))
    voxel_ml = spec.spacing_mm**3 / 1000
    labels = probabilities.argmax(dim=0)
    lesion = spec.class_names.index(LESION)
    return OutputSummary(
        entropy=entropy,
        objective=entropy if objective is None else objective,
        lesion_ml=float((labels == lesion).sum()) * voxel_ml if lesion_ml is None else lesion_ml,
        brain_ml=float((labels > 0).sum()) * voxel_ml,
    )
