"""The model that a server serves: found when it starts, loaded when first needed, shared by all tasks."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from strokelabel.registry import find_model

if TYPE_CHECKING:
    from strokelabel.fit.versions import ModelVersions
    from strokelabel.inference.options import PredictionOptions
    from strokelabel.inference.prediction import Prediction
    from strokelabel.inference.predictor import Predictor
    from strokelabel.io.images import Image
    from strokelabel.registry import ModelSpec


class ServedModel:
    """The active version of a model, on each device that was asked for.

    Args:
        name: a registered model, or the path of a .safetensors file. Its header is read now, the rest later.
        versions_folder: where versions that were fine-tuned lie; None to serve the model as it is.

    Raises:
        UnknownModelError, WeightsError: no such model, or a corrupt file.
    """

    def __init__(self, name: str, versions_folder: Path | None = None) -> None:
        self._spec = find_model(name)
        self._stamp: tuple[int, int] | None = None
        self.versions = _versions(versions_folder, self._spec)
        self._predictors: dict[str, Predictor] = {}
        self._one_at_a_time = threading.Lock()  # two whole volumes at once may be more than the memory holds

    @property
    def last_spec(self) -> ModelSpec:
        """The model as of the last look, without reading a file now."""
        return self._spec

    @property
    def spec(self) -> ModelSpec:
        """The model as it would predict now: another version may have become active since the last request."""
        if self.versions is not None and (stamp := self.versions.stamp()) != self._stamp:
            _, self._spec = self.versions.active()
            self._stamp = stamp
        return self._spec

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
        spec = self.spec
        if device in self._predictors and self._predictors[device].spec.path != spec.path:
            self._predictors.clear()  # another version is active now
        if device not in self._predictors:
            from strokelabel.inference.device import resolve_device
            from strokelabel.inference.predictor import Predictor
            from strokelabel.networks.weights import load_weights

            network, spec = load_weights(spec, device)
            self._predictors[device] = Predictor(spec, network, resolve_device(device))
        return self._predictors[device]


def _versions(folder: Path | None, spec: ModelSpec) -> ModelVersions | None:
    if folder is None:
        return None
    from strokelabel.fit.versions import ModelVersions

    return ModelVersions(folder, spec)
