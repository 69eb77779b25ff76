"""Adaptation of a model to one scan, and a predictor that adapts its model to every scan.

A normaliser in front of the frozen network is adapted, as Chalcroft et al. 2025 do it (section 2.1 there, after
Karani et al. 2021 and Wang et al. 2021).
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strokelabel.adaptation.denoiser import LabelDenoiser
from strokelabel.adaptation.normaliser import NormaliserTraining
from strokelabel.adaptation.objective import AdaptationObjective, AgreementObjective, EntropyObjective
from strokelabel.adaptation.options import AdaptationOptions
from strokelabel.adaptation.safety import (
    AdaptationReport,
    OutputSummary,
    OutputWatch,
    PlainLesions,
    choose,
    summarise,
)
from strokelabel.adaptation.windows import WindowSampler
from strokelabel.geometry.crop import foreground_mask
from strokelabel.inference.device import voxels_that_fit
from strokelabel.inference.engine import OnPass
from strokelabel.inference.network_input import OnProgress, ShownScan, silent, trained_flips
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.prediction import Prediction, Scores, decide
from strokelabel.inference.segment.predictor import SETTINGS_KEY, Predictor
from strokelabel.inference.torch_network import TensorEngine
from strokelabel.io import Image
from strokelabel.types import Mask

_PLAIN_AT, _ITERATIONS_AT, _ADAPTED_AT, _WRITING_AT = 0.02, 0.08, 0.86, 0.92
"""Fractions of the whole time at which each part begins, about."""

_GRADIENT_MEMORY = 3
"""Memory of a pass with its gradient, relative to one without."""


@dataclass(frozen=True, eq=False)
class AdaptedPrediction:
    """Prediction of an adapted model, or the plain one where that is safer.

    Attributes:
        prediction: the one that is kept, with a note where it is the plain one.
        scores: what it was decided from.
        plain: the prediction without adaptation; without the probabilities of all classes.
        adapted: the prediction with it, likewise.
        report: what was kept, and why.
    """

    prediction: Prediction
    scores: Scores
    plain: Prediction
    adapted: Prediction
    report: AdaptationReport


def adapt(
    predictor: Predictor,
    image: Image,
    adaptation: AdaptationOptions,
    options: PredictionOptions | None = None,
    progress: OnProgress | None = None,
    denoiser: LabelDenoiser | None = None,
) -> AdaptedPrediction:
    """Adapt a model to one scan, predict it, and keep the better of the adapted and the plain prediction.

    The predictor's network is the same before and after, also where an error ends the adaptation.

    Args:
        predictor: the model.
        image: from `read_image`.
        adaptation: method and iterations.
        options: instead of the predictor's own.
        progress: told after every iteration; what it raises ends the adaptation, which is how it is cancelled.
        denoiser: for the method "dae", the one to use; the one that `adaptation` names if None.

    Raises:
        ImageError: the scan cannot be segmented; see `strokelabel.errors`.
        UnknownModelError, WeightsError: there is no denoiser, or it does not suit the model.
    """
    began = time.perf_counter()
    predictor = predictor.on_torch()
    options, report = options or predictor.options, progress or silent
    if adaptation.method == "dae" and denoiser is None:
        denoiser = LabelDenoiser.load(adaptation.denoiser, predictor.spec, predictor.device)
    scan = predictor.show(image, options, report)
    case = _Case(predictor, scan, options, report)
    plain = case.output(case.item, _PLAIN_AT, _ITERATIONS_AT)
    objective = case.objective(denoiser)
    plain_result = case.decided(plain, image, keep=False)
    watch = OutputWatch(plain, case.in_box(plain_result[1].lesion_mask), predictor.spec)
    started = time.perf_counter()
    adapted_item, training = case.adapted_item(plain, objective, adaptation, watch)
    seconds = time.perf_counter() - started
    adapted = case.output(adapted_item, _ADAPTED_AT, _WRITING_AT)
    report("writing to the scan's grid", _WRITING_AT)
    results = [plain_result, case.decided(adapted, image, keep=False)]
    before, after = (
        case.summary(probabilities, objective, result[1])
        for probabilities, result in zip((plain, adapted), results, strict=True)
    )
    lesions = PlainLesions(results[0][1].lesion_mask, image.grid.voxel_volume_ml)
    after = replace(after, vanished_ml=lesions.vanished_ml(results[1][1].lesion_mask))
    choice = choose(before, after, objective.name, training.iterations, training.ended)
    iterations = adaptation.iterations, training.iterations
    told = AdaptationReport(adaptation.method, *iterations, objective.name, before, after, choice, seconds)
    is_adapted = choice.kept == "adapted"
    scores, prediction = results[is_adapted]
    if options.keep_probabilities:
        scores, prediction = case.decided(adapted if is_adapted else plain, image, keep=True)
    if not is_adapted:
        note = f"the prediction is not adapted ({adaptation.method}): {choice.reason}"
        scores, prediction = _with_note(scores, prediction, note)
    report("done", 1.0)
    prediction = replace(prediction, seconds=time.perf_counter() - began)
    return AdaptedPrediction(prediction, scores, results[0][1], results[1][1], told)


def _with_note(scores: Scores, prediction: Prediction, note: str) -> tuple[Scores, Prediction]:
    """Return both with one note more."""
    return (
        replace(scores, notes=(*scores.notes, note)),
        replace(prediction, notes=(*prediction.notes, note)),
    )


class _Case:
    """A scan in adaptation.

    Args:
        predictor: the model.
        scan: as the network is shown it.
        options: of the prediction.
        report: told how far it is.
    """

    def __init__(
        self, predictor: Predictor, scan: ShownScan, options: PredictionOptions, report: OnProgress
    ) -> None:
        self._predictor, self._scan, self._options, self._report = predictor, scan, options, report
        self.item = torch.from_numpy(scan.item()).to(predictor.device)
        self._engine = TensorEngine(scan.engine)
        self._head = torch.from_numpy(np.ascontiguousarray(foreground_mask(scan.volume)))

    def output(self, item: Tensor, start: float, stop: float) -> Tensor:
        """Return the probabilities (classes, x, y, z) for an input of the network, as a plain prediction makes them."""
        flips = trained_flips(self._predictor.spec) if self._options.tta else ()
        return self._engine.probabilities(item, flips, self._passes(start, stop))

    def objective(self, denoiser: LabelDenoiser | None) -> AdaptationObjective:
        """Return what is lowered: the disagreement with a denoiser, or the entropy if there is none."""
        device = self._predictor.device
        if denoiser is not None:
            return AgreementObjective(denoiser, device)
        return EntropyObjective(self._head.to(device))

    def adapted_item(
        self,
        plain: Tensor,
        objective: AdaptationObjective,
        adaptation: AdaptationOptions,
        watch: OutputWatch,
    ) -> tuple[Tensor, NormaliserTraining]:
        """Return the input of the network that a trained normaliser gives, (1, 1, x, y, z), and its training."""
        most = self._options.max_voxels or voxels_that_fit(self._predictor.device) // _GRADIENT_MEMORY
        windows = WindowSampler(plain, self._predictor.multiple, objective.alignment, most, adaptation.seed)
        model = self._predictor
        training = NormaliserTraining(
            model.network, self.item, objective, adaptation, watch, model.spec.temperature
        )
        share = (_ADAPTED_AT - _ITERATIONS_AT) / max(1, adaptation.iterations)
        training.run(
            windows,
            plain,
            self._engine.probabilities,
            lambda done: self._report("adapting", _ITERATIONS_AT + share * done),
        )
        return training.normalised(), training

    def in_box(self, mask: Mask) -> Mask:
        """Return a mask (i, j, k) of the scan in the box that the network is shown, (x, y, z)."""
        return self._scan.box.crop(self._scan.canonical.forward_labels(mask))

    def decided(self, probabilities: Tensor, image: Image, *, keep: bool) -> tuple[Scores, Prediction]:
        """Return the scores on the scan's own grid, and what the options make of them."""
        options = replace(self._options, keep_probabilities=keep)
        scores = self._predictor.on_scan(probabilities.numpy(), self._scan, image, options)
        prediction = decide(scores, image.grid.voxel_volume_ml, self._predictor.spec, self._options)
        return scores, prediction

    def summary(
        self, probabilities: Tensor, objective: AdaptationObjective, prediction: Prediction
    ) -> OutputSummary:
        """Return what is compared of an output."""
        value = objective.value(probabilities)
        return summarise(probabilities, self._head, self._predictor.spec, value, prediction.volume_ml)

    def _passes(self, start: float, stop: float) -> OnPass:
        return lambda done, total: self._report("predicting", start + (stop - start) * done / total)


class AdaptingPredictor(Predictor):
    """A predictor whose predictions are adapted, each to its scan, where that is safe; see `adapt`.

    Args:
        predictor: the model; it is shared, and does not change.
        adaptation: method and iterations.

    Raises:
        UnknownModelError, WeightsError: the method needs a denoiser, and there is none that suits the model.
    """

    def __init__(self, predictor: Predictor, adaptation: AdaptationOptions) -> None:
        predictor = predictor.on_torch()
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
