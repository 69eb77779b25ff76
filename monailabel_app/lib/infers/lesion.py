"""The task `segment`: the lesion, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.infers.task import PredictionTask
from lib.model import ServedModel
from strokelabel.labels import CLASS_NAMES, TissueClass

if TYPE_CHECKING:
    import numpy as np

    from strokelabel.inference.prediction import Prediction


class SegmentLesion(PredictionTask):
    """Answers 1 inside the lesion and 0 elsewhere."""

    def __init__(self, model: ServedModel) -> None:
        labels = {CLASS_NAMES[TissueClass.LESION]: 1}
        super().__init__(model, labels, "Stroke lesion in a brain scan of any contrast")

    def shown(self, prediction: Prediction) -> np.ndarray:
        """The lesion mask."""
        return prediction.lesion_mask
