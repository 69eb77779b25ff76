"""Models whose predictions are scored, and the arms of an evaluation: the ways of using a model that tables compare.

An arm is added here: by the options that it changes, or by a function that scores a scan in place of the predictor.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from strokelabel.errors import DataError, OptionError
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.provenance import MADE_TOGETHER, is_made_from, provenance, sidecar_of
from strokelabel.inference.segment.batch import OutputChoice, write_outputs
from strokelabel.inference.segment.session_batch import describe_ensemble
from strokelabel.io import Image, read_image
from strokelabel.registry import ModelSpec
from strokelabel.reports.evaluation.cases import EvaluationCase
from strokelabel.reports.evaluation.methods import Method
from strokelabel.reports.evaluation.slabs import slab_axis

if TYPE_CHECKING:
    from strokelabel.adaptation.adapt import AdaptingPredictor
    from strokelabel.inference.segment.ensemble import EnsemblePrediction
    from strokelabel.inference.segment.prediction import Prediction, Scores
    from strokelabel.inference.segment.predictor import Predictor


Scorer = Callable[["Predictor", Image, PredictionOptions, OnProgress], "Scores"]
"""Scores a scan in place of `Predictor.scores`, as an adaptation to the scan does."""

ENSEMBLE = "ensemble"
"""Arm that is no way of using a model on a scan: it adds a row for all sequences of a session together."""


@dataclass(frozen=True)
class Arm:
    """A way of using a model.

    Attributes:
        name: on the command line.
        title: behind the model's name in tables; "" for the model as it is.
        changes: options of the prediction that it changes.
        scores: what scores a scan; None for the predictor itself. Sequences are not averaged in such an arm.
    """

    name: str
    title: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    scores: Scorer | None = None

    def options(self, options: PredictionOptions) -> PredictionOptions:
        """Return the options of a prediction in this arm."""
        return replace(options, **self.changes)

    def method_name(self, model: str) -> str:
        """Return what tables call a model in this arm."""
        return f"{model}+{self.title}" if self.title else model


def _adapted(method: Literal["tent", "dae"]) -> Scorer:
    """Return what scores a scan by a model that is adapted to it, where that is safe."""

    def scores(
        predictor: Predictor, image: Image, options: PredictionOptions, progress: OnProgress
    ) -> Scores:
        return _adapting(predictor, method).scores(image, options, progress)

    return scores


@lru_cache(maxsize=2)
def _adapting(predictor: Predictor, method: Literal["tent", "dae"]) -> AdaptingPredictor:
    """Return the model that adapts itself; the same one for all scans, as "dae" reads a second network."""
    from strokelabel.adaptation.adapt import AdaptingPredictor
    from strokelabel.adaptation.options import AdaptationOptions

    return AdaptingPredictor(predictor, AdaptationOptions(method))


ARMS = {
    arm.name: arm
    for arm in (
        Arm("none"),
        Arm("tta", "TTA", {"tta": True}),
        Arm("tent", "TENT", scores=_adapted("tent")),
        Arm("dae", "DAE", scores=_adapted("dae")),
    )
}
"""Models that PL, UPL and DPL made are models like others: they need no arm."""


def parse_arms(text: str | None) -> tuple[list[Arm], bool]:
    """Read arms such as "none,tta,ensemble".

    Args:
        text: names, separated by commas; None for the model as it is. The arm "ensemble" adds its row to each of the
            others, and to the model as it is where there is no other.

    Returns:
        The arms, each once, and whether sessions are scored as ensembles too.

    Raises:
        OptionError: an arm that is not known.
    """
    names = dict.fromkeys(word for word in re.split(r"[,\s]+", text or "none") if word)
    unknown = [name for name in names if name != ENSEMBLE and name not in ARMS]
    if unknown or not names:
        raise OptionError(
            f"expected arms among {', '.join([*ARMS, ENSEMBLE])}, got {', '.join(unknown) or 'none'}; "
            "separate them by commas"
        )
    arms = [ARMS[name] for name in names if name != ENSEMBLE]
    return arms or [ARMS["none"]], ENSEMBLE in names


def image_of(case: EvaluationCase) -> Path:
    """Return the file of a case's scan.

    Raises:
        DataError: the table of the cases names none.
    """
    if case.image is None:
        raise DataError(
            f"{case.name}: expected a scan to predict, the table names none; fill the column image"
        )
    return case.image


@dataclass(frozen=True, eq=False)
class _Known:
    """Scores of one scan, and what they were made from."""

    path: Path
    modified: float
    options: PredictionOptions
    image: Image
    scores: Scores
    seconds: float


class ScoringModel:
    """A model whose scores of the last scan are kept, so that several thresholds cost one prediction.

    A scan whose slices are all the same along an axis is one slice repeated, and goes straight through the network
    (`slab.slab_scores`).

    Args:
        spec: the model.
        device: where to compute.
        slabs_as_scans: slabs go through the predictor as whole heads do, with air above and below.
        arm: a way of using the model.
    """

    def __init__(
        self, spec: ModelSpec, device: str, slabs_as_scans: bool = False, arm: Arm = ARMS["none"]
    ) -> None:
        self.spec = spec
        self.device = device
        self.slabs_as_scans = slabs_as_scans
        self.arm = arm
        self._known: _Known | None = None

    def predict(
        self, path: Path, options: PredictionOptions, progress: OnProgress
    ) -> tuple[Image, Prediction]:
        """Read a scan and predict its mask.

        Args:
            path: of the scan.
            options: of the prediction.
            progress: told how far it is.

        Raises:
            ImageError, WeightsError: the scan cannot be predicted, or the model not be loaded.
        """
        from strokelabel.inference.segment.prediction import decide

        began = time.perf_counter()
        known = self._of(path, options, progress)
        prediction = decide(known.scores, known.image.grid.voxel_volume_ml, self.spec, options)
        return known.image, replace(prediction, seconds=known.seconds + time.perf_counter() - began)

    def predict_together(
        self, path: Path, others: Sequence[Path], options: PredictionOptions, progress: OnProgress
    ) -> tuple[Image, EnsemblePrediction]:
        """Read the sequences of a session, and predict them together on the grid of the first.

        Args:
            path: of the scan on whose grid the mask lies.
            others: further sequences; see `segment.ensemble.predict_ensemble`.
            options: of the prediction.
            progress: told how far it is.

        Raises:
            ImageError, WeightsError: the scan cannot be predicted, or the model not be loaded.
        """
        from strokelabel.inference.segment.ensemble import predict_ensemble
        from strokelabel.inference.segment.session_batch import sequences_of

        image = replace(read_image(path), source=str(path))
        if not self.slabs_as_scans and slab_axis(image.data) is not None:
            raise DataError(
                "expected a scan of a head to predict with the others of its session, found one slice repeated",
                source=path,
            )
        return image, predict_ensemble(
            self.predictor, image, sequences_of(others), options, progress=progress
        )

    def _of(self, path: Path, options: PredictionOptions, progress: OnProgress) -> _Known:
        path, modified = path.resolve(), path.stat().st_mtime if path.exists() else 0.0
        asked = replace(options, threshold=None, min_size_ml=0.0, fill_holes=False, keep_outside_brain=False)
        known = self._known
        if known is None or (known.path, known.modified, known.options) != (path, modified, asked):
            began = time.perf_counter()
            image = replace(read_image(path), source=str(path))
            scores = self._scores(image, asked, progress)
            known = _Known(path, modified, asked, image, scores, time.perf_counter() - began)
            self._known = known
        return known

    def _scores(self, image: Image, options: PredictionOptions, progress: OnProgress) -> Scores:
        from strokelabel.reports.evaluation.slabs import slab_scores

        axis = None if self.slabs_as_scans else slab_axis(image.data)
        if axis is None and self.arm.scores is not None:
            return self.arm.scores(self.predictor, image, options, progress)
        if axis is None:
            return self.predictor.scores(image, options, progress)
        return slab_scores(self.predictor, image, axis, options, progress)

    @cached_property
    def predictor(self) -> Predictor:
        """Loaded when the first mask is to be made: a finished run needs no torch."""
        from strokelabel.inference.segment.predictor import Predictor

        return Predictor.from_model(self.spec.path, self.device)


class ModelMethod(Method):
    """A model with options; its masks are kept, so that they are made once.

    Args:
        name: in the tables.
        model: may be shared by methods of different thresholds.
        options: of the prediction.
        folder: for the masks.
    """

    makes_masks = True

    def __init__(self, name: str, model: ScoringModel, options: PredictionOptions, folder: Path) -> None:
        super().__init__(name)
        self.model = model
        self.options = replace(options, keep_probabilities=False)
        self.folder = folder

    def description(self) -> dict[str, Any]:
        """Return the version, weights and options."""
        known = provenance(self.model.spec, self.options)
        known |= {"slabs_as_scans": True} if self.model.slabs_as_scans else {}
        return known | ({"arm": self.model.arm.name} if self.model.arm.scores is not None else {})

    def takes(self, case: EvaluationCase) -> bool:
        """Return whether the case is a scan, or an ensemble and the model is used as it is or with flips."""
        return case.others is None or self.model.arm.scores is None

    def notes(self, case: EvaluationCase, path: Path) -> tuple[str, ...]:
        """Return the notes about an ensemble, such as which sequences were left out."""
        known = sidecar_of(path) if case.others is not None else None
        return tuple(known["notes"]) if known else ()

    def inputs(self, case: EvaluationCase) -> tuple[list[Path], dict[str, Any]]:
        """Return the scans, and all settings that affect the model's mask."""
        if case.others is None:
            return [image_of(case)], self.description()
        return [image_of(case), *case.others], self.description() | MADE_TOGETHER

    def mask_path(self, case: EvaluationCase, progress: OnProgress) -> Path:
        """Return the mask of an earlier run with the same scan, model and options, or else a new one."""
        names = case.names
        if not self._is_made(case, names):
            self._make(case, names, progress)
        return self.folder / names.mask

    def _make(self, case: EvaluationCase, names: ResultNames, progress: OnProgress) -> None:
        if case.others is None:
            image, prediction = self.model.predict(image_of(case), self.options, progress)
            write_outputs(prediction, image, self.folder, names, OutputChoice())
            return
        path, *others = _session(case)
        image, together = self.model.predict_together(path, others, self.options, progress)
        more = describe_ensemble(together)
        write_outputs(together.found.prediction, image, self.folder, names, OutputChoice(), more=more)

    def _is_made(self, case: EvaluationCase, names: ResultNames) -> bool:
        mask, image = self.folder / names.mask, image_of(case)
        known = sidecar_of(self.folder / names.mask)
        if known is None or not mask.exists() or not image.exists():
            return False
        made_by = provenance(self.model.spec, self.options)
        if any(known.get(key) != value for key, value in made_by.items()):
            return False
        if case.others is not None:
            return is_made_from(known, _session(case), mask)
        return (
            known.get("Sources") == [str(image.resolve())] and image.stat().st_mtime <= mask.stat().st_mtime
        )


def _session(case: EvaluationCase) -> list[Path]:
    """Return the scans of an ensemble, the one on whose grid its mask lies first."""
    return [path.resolve() for path in (image_of(case), *(case.others or ()))]
