"""Tasks `segment`, `segment_accurate` and `segment_tissues`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lib.infers.infer_options import InferOptions
from lib.infers.segmenter import Segmenter
from lib.infers.task import PredictionTask, with_all_flips
from strokelabel.inference.segment.scores import Prediction
from strokelabel.labels import CLASS_NAMES, TissueClass

LESION_LABELS = {CLASS_NAMES[TissueClass.LESION]: 1}


class SegmentLesion(PredictionTask):
    """Lesion mask (1 inside the lesion, 0 elsewhere) from one pass of the network."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__(segmenter, dict(LESION_LABELS), "Stroke lesion in a brain scan of any contrast")

    def shown(self, prediction: Prediction) -> np.ndarray:
        """Return the lesion mask."""
        return prediction.lesion_mask


class SegmentLesionAccurately(PredictionTask):
    """Segmentation of the lesion from the mean over all flips of the training, which takes as many times longer."""

    def __init__(self, segmenter: Segmenter) -> None:
        description = "Stroke lesion from the mean over flips of the scan: slower, and more exact"
        super().__init__(segmenter, dict(LESION_LABELS), description, fixed=["tta"])

    def options_of(self, request: Mapping[str, Any]) -> InferOptions:
        """Return the options of a request, with flips."""
        return with_all_flips(super().options_of(request))

    def shown(self, prediction: Prediction) -> np.ndarray:
        """Return the lesion mask."""
        return prediction.lesion_mask


class SegmentTissues(PredictionTask):
    """Class of each voxel: 0 background, then the tissues and the lesion in the model's order."""

    def __init__(self, segmenter: Segmenter) -> None:
        names = segmenter.model.spec.class_names
        labels = {name: value for value, name in enumerate(names) if value > 0}
        super().__init__(segmenter, labels, "Brain tissues and stroke lesion in a brain scan of any contrast")

    def shown(self, prediction: Prediction) -> np.ndarray:
        """Return the class map."""
        return prediction.labels
