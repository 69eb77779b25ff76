"""How sure a model is of the lesion that it drew."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strokelabel.inference.segment.scores import Prediction


def mean_confidence(prediction: Prediction) -> float | None:
    """Mean lesion probability inside the mask; None where there is no lesion."""
    lesion = prediction.lesion_mask > 0
    return round(float(prediction.lesion_probability[lesion].mean()), 4) if lesion.any() else None
