"""The model that a server serves: found when it starts, loaded when first needed, shared by all tasks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from strokelabel.registry import find_model

if TYPE_CHECKING:
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.inference.prediction import Prediction
    from strokelabel.inference.predictor import Predictor
    from strokelabel.io.images import Image


class ServedModel:
    """One set of weights, on each device that was asked for.

    Args:
        name: a registered model, or the path of a .safetensors file. Its header is read now, the rest later.

    Raises:
        UnknownModelError, WeightsError: no such model, or a corrupt file.
    """

    def __init__(self, name: str) -> None:
        self.spec = find_model(name)
        self._predictors: dict[str, Predictor] = {}
        self._one_at_a_time = threading.Lock()  # two whole volumes at once may be more than the memory holds

    def predict(self, image: Image, device: str, options: PredictionOptions) -> Prediction:
        """Segment one scan; waits while another one is being segmented.

        Args:
            image: a scan that passed `read_image`.
            device: "cpu", "cuda" or "cuda:<n>".
            options: see `PredictionOptions`.
        """
        with self._one_at_a_time:
            return self._predictor(device).predict(image, options)

    def _predictor(self, device: str) -> Predictor:
        if device not in self._predictors:
            from strokelabel.inference.device import resolve_device
            from strokelabel.inference.predictor import Predictor
            from strokelabel.networks.weights import load_weights

            network, spec = load_weights(self.spec, device)
            self._predictors[device] = Predictor(spec, network, resolve_device(device))
        return self._predictors[device]
