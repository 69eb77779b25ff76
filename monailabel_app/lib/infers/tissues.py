"""The task `segment_tissues`: all classes of the model."""

from __future__ import annotations

import numpy as np

from lib.infers.segmenter import Segmenter
from lib.infers.task import PredictionTask
from strokelabel.inference.segment.scores import Prediction


class SegmentTissues(PredictionTask):
    """Answers the class of each voxel: 0 background, then the tissues and the lesion in the model's order."""

    def __init__(self, segmenter: Segmenter) -> None:
        names = segmenter.model.spec.class_names
        labels = {name: value for value, name in enumerate(names) if value > 0}
        super().__init__(segmenter, labels, "Brain tissues and stroke lesion in a brain scan of any contrast")

    def shown(self, prediction: Prediction) -> np.ndarray:
        """The class map."""
        return prediction.labels
