"""Predictor that adapts its model to every scan: for folders of scans, and wherever a predictor is expected."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from strokelabel.adaptation.adapt import AdaptedPrediction, adapt
from strokelabel.adaptation.denoiser import LabelDenoiser
from strokelabel.adaptation.options import AdaptationOptions
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import SETTINGS_KEY, Predictor
from strokelabel.inference.segment.scores import Prediction, Scores
from strokelabel.io import Image


class AdaptingPredictor(Predictor):
    """A predictor whose predictions are adapted, each to its scan, where that is safe; see `adapt`.

    Args:
        predictor: the model; it is shared, and does not change.
        adaptation: method and iterations.

    Raises:
        UnknownModelError, WeightsError: the method needs a denoiser, and there is none that suits the model.
    """

    def __init__(self, predictor: Predictor, adaptation: AdaptationOptions) -> None:
        super().__init__(predictor.spec, predictor.network, predictor.device, predictor.options)
        self.adaptation = adaptation
        self._denoiser = None
        if adaptation.method == "dae":
            self._denoiser = LabelDenoiser.load(adaptation.denoiser, predictor.spec, predictor.device)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides an adaptation."""
        kept = asdict(self.adaptation)
        name = kept.pop("denoiser")
        if self._denoiser is not None:
            kept |= {"denoiser": name, "denoiser_sha256": self._denoiser.spec.sha256}
        return {SETTINGS_KEY: kept}

    def predict(
        self, image: Image, options: PredictionOptions | None = None, progress: OnProgress | None = None
    ) -> Prediction:
        """Predict one scan by a model that is adapted to it; the report is in the prediction's record."""
        found = self.adapted(image, options, progress)
        return replace(found.prediction, record={**self.settings, "adaptation": found.report.as_json()})

    def scores(
        self, image: Image, options: PredictionOptions | None = None, progress: OnProgress | None = None
    ) -> Scores:
        """Return the scores of the prediction that is kept."""
        return self.adapted(image, options, progress).scores

    def adapted(
        self, image: Image, options: PredictionOptions | None = None, progress: OnProgress | None = None
    ) -> AdaptedPrediction:
        """Return both predictions of a scan, and the report."""
        return adapt(self, image, self.adaptation, options, progress, self._denoiser)
