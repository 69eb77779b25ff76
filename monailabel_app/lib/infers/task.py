"""What the infer tasks have in common: one prediction, shown in two ways."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from lib.infers.confidence import mean_confidence
from lib.infers.options import InferOptions, default_config
from lib.infers.result import write_result
from lib.model import ServedModel
from lib.scans import read_scan
from strokelabel.labels import CLASS_COLORS

if TYPE_CHECKING:
    import numpy as np

    from strokelabel.inference.prediction import Prediction

logger = logging.getLogger(__name__)


class PredictionTask(InferTask):
    """Segments a scan and answers with labels on the scan's own grid.

    Args:
        model: what predicts.
        labels: name -> value in the answer's image.
        description: for /info/.
    """

    def __init__(self, model: ServedModel, labels: dict[str, int], description: str) -> None:
        super().__init__(InferType.SEGMENTATION, labels, 3, description, default_config())
        self._model = model

    @abstractmethod
    def shown(self, prediction: Prediction) -> np.ndarray:
        """The labels (i, j, k) that this task answers with."""

    def is_valid(self) -> bool:
        """Whether /info/ lists the task: always, since a server without its model does not start."""
        return True

    def info(self) -> dict[str, Any]:
        """What /info/ says about the task: what every viewer reads, and colours and the model for ours."""
        return {**super().info(), **self._model_and_colors()}

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment the image at the path `request["image"]`.

        A mask is written even when nothing is found: viewers keep the last one when none comes.

        Returns:
            Path of a temporary file with the labels, and the JSON of the answer.

        Raises:
            ImageError, OptionError, InvalidRequestError: something that the client can mend.
        """
        options = InferOptions.from_request(request)
        times = [time.perf_counter()]
        image = read_scan(request["image"], request["image_name"])
        times.append(time.perf_counter())
        prediction = self._model.predict(image, options.device, options.prediction)
        times.append(time.perf_counter())
        file = write_result(self.shown(prediction), image, options)
        times.append(time.perf_counter())
        logger.info(f"Segmented in {times[-1] - times[0]:.1f} s: {prediction.volume_ml:.2f} ml of lesion")
        return file, self._answer(prediction, _latencies(*times))

    def _model_and_colors(self) -> dict[str, Any]:
        spec = self._model.spec
        colors = {name: list(CLASS_COLORS[name]) for name in self.labels if name in CLASS_COLORS}
        return {"label_colors": colors, "model": {"name": spec.name, "version": spec.version}}

    def _answer(self, prediction: Prediction, latencies: dict[str, float]) -> dict[str, Any]:
        return {
            "label_names": self.labels,
            **self._model_and_colors(),
            "latencies": latencies,
            "volume_ml": round(float(prediction.volume_ml), 3),
            "lesion_count": int(prediction.lesion_count),
            "mean_confidence": mean_confidence(prediction),
            "notes": list(prediction.notes),
            "centroids": {},  # browsers expect the entry
        }


def _latencies(start: float, read: float, predicted: float, written: float) -> dict[str, float]:
    """Seconds spent, under the names that MONAI Label uses; inverting is part of its "infer" here."""
    spans = {
        "pre": read - start,
        "infer": predicted - read,
        "write": written - predicted,
        "total": written - start,
    }
    return {name: round(seconds, 3) for name, seconds in spans.items()} | {"invert": 0.0, "post": 0.0}
