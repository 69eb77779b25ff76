"""The task `segment_tissues`: all classes of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.infers.task import PredictionTask
from lib.model import ServedModel

if TYPE_CHECKING:
    import numpy as np

    from strokelabel.inference.prediction import Prediction


class SegmentTissues(PredictionTask):
    """Answers the class of each voxel: 0 background, then the tissues and the lesion in the model's order."""

    def __init__(self, model: ServedModel) -> None:
        labels = {name: value for value, name in enumerate(model.spec.class_names) if value > 0}
        super().__init__(model, labels, "Brain tissues and stroke lesion in a brain scan of any contrast")

    def shown(self, prediction: Prediction) -> np.ndarray:
        """The class map."""
        return prediction.labels
