"""Task `segment_adapted`: the lesion by a model that is adapted to the scan, where that is safe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lib.infers.caches import ScanSource
from lib.infers.infer_options import InferOptions
from lib.infers.segment_tasks import LESION_LABELS
from lib.infers.segmenter import Found, Question, Segmenter
from lib.infers.task import PredictionTask, kind_of
from lib.refusals import InvalidRequestError
from lib.request_values import as_choice, as_number
from strokelabel.adaptation.denoiser import voxels_of_model
from strokelabel.adaptation.options import DENOISER, AdaptationOptions
from strokelabel.errors import StrokeLabelError
from strokelabel.inference.segment.prediction import Prediction
from strokelabel.registry import ModelSpec, find_model

ITERATIONS = 100
"""Iterations by default, as in the paper."""

MOST_ITERATIONS = 10_000

FIRST_ESTIMATE_S = 300.0
"""Seconds that /info/ names before the first adaptation.

With `base` on one core beside other work, 10 iterations of a DWI took 29 s, the rest 11 s; measure again by
`training/benchmarks/adaptation.py`.
"""


class SegmentAdapted(PredictionTask):
    """Lesion mask (1 inside the lesion, 0 elsewhere) after an adaptation of the model to the scan.

    A map of uncertainty is that of the model without adaptation.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        description = (
            "Stroke lesion by a model that is adapted to the scan first, where that is safe; takes minutes"
        )
        super().__init__(segmenter, dict(LESION_LABELS), description)
        self._methods = ("tent", "dae") if _has_denoiser(segmenter.model.spec) else ("tent",)
        self._config |= {"adapt": list(self._methods), "adapt_iterations": ITERATIONS}

    def info(self) -> dict[str, Any]:
        """Return the entry in /info/, with the seconds that an answer takes, about: as long as the last one took."""
        last = self._segmenter.adaptation_seconds
        return {**super().info(), "seconds": round(FIRST_ESTIMATE_S if last is None else last, 1)}

    def question(self, request: Mapping[str, Any], options: InferOptions) -> Question:
        """Return the question about the scan.

        Raises:
            InvalidRequestError: a method or a number of iterations that is not possible.
        """
        source = ScanSource(request["image"], request["image_name"])
        kind, adaptation = kind_of(options), self._adaptation(request)
        wanted = None if kind == "views" else adaptation
        return self._segmenter.ask([source], options.prediction, options.device, kind, adaptation=wanted)

    def shown(self, prediction: Prediction) -> np.ndarray:
        """Return the lesion mask."""
        return prediction.lesion_mask

    def _adaptation(self, request: Mapping[str, Any]) -> AdaptationOptions:
        method = as_choice(request.get("adapt"), "adapt", self._methods)
        iterations = as_number(request.get("adapt_iterations"), "adapt_iterations", ITERATIONS)
        if not 0 <= iterations <= MOST_ITERATIONS or iterations != int(iterations):
            raise InvalidRequestError(
                f"adapt_iterations: expected a whole number from 0 to {MOST_ITERATIONS}, found {iterations:g}."
            )
        return AdaptationOptions("dae" if method == "dae" else "tent", iterations=int(iterations))

    def _answer(self, prediction: Prediction, found: Found, options: InferOptions) -> dict[str, Any]:
        answer = super()._answer(prediction, found, options)
        if options.result == "uncertainty":
            answer["notes"] = [*answer["notes"], "the uncertainty is that of the model without adaptation"]
        return answer


def _has_denoiser(model: ModelSpec) -> bool:
    """Return whether there is a registered denoiser, and it suits a model."""
    try:
        voxels_of_model(find_model(DENOISER), model)
    except StrokeLabelError:
        return False
    return True
