"""A model as a method of an evaluation: it makes the masks that are scored."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strokelabel.inference.naming import ResultNames
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.provenance import provenance, sidecar_of
from strokelabel.inference.segment.outputs import OutputChoice, write_outputs
from strokelabel.io import Image, read_image
from strokelabel.registry import ModelSpec
from strokelabel.reports.evaluation.cases import EvaluationCase
from strokelabel.reports.evaluation.methods import Method, OnProgress, image_of
from strokelabel.reports.evaluation.slabs import slab_axis

if TYPE_CHECKING:
    from strokelabel.inference.segment.predictor import Predictor
    from strokelabel.inference.segment.scores import Prediction, Scores


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
    """

    def __init__(self, spec: ModelSpec, device: str, slabs_as_scans: bool = False) -> None:
        self.spec = spec
        self.device = device
        self.slabs_as_scans = slabs_as_scans
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
        from strokelabel.inference.segment.scores import decide

        began = time.perf_counter()
        known = self._of(path, options, progress)
        prediction = decide(known.scores, known.image.grid.voxel_volume_ml, self.spec, options)
        return known.image, replace(prediction, seconds=known.seconds + time.perf_counter() - began)

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

    def __init__(self, name: str, model: ScoringModel, options: PredictionOptions, folder: Path) -> None:
        super().__init__(name)
        self.model = model
        self.options = replace(options, keep_probabilities=False)
        self.folder = folder

    def description(self) -> dict[str, Any]:
        """Return the version, weights and options."""
        known = provenance(self.model.spec, self.options)
        return known | {"slabs_as_scans": True} if self.model.slabs_as_scans else known

    def inputs(self, case: EvaluationCase) -> tuple[list[Path], dict[str, Any]]:
        """Return the scan, and all settings that affect the model's mask."""
        return [image_of(case)], self.description()

    def mask_path(self, case: EvaluationCase, progress: OnProgress) -> Path:
        """Return the mask of an earlier run with the same scan, model and options, or else a new one."""
        names = ResultNames(case.name)
        if not self._is_made(case, names):
            image, prediction = self.model.predict(image_of(case), self.options, progress)
            write_outputs(prediction, image, self.folder, names, OutputChoice())
        return self.folder / names.mask

    def _is_made(self, case: EvaluationCase, names: ResultNames) -> bool:
        mask, image = self.folder / names.mask, image_of(case)
        known = sidecar_of(self.folder / names.mask)
        if known is None or not mask.exists() or not image.exists():
            return False
        same = all(
            known.get(key) == value for key, value in provenance(self.model.spec, self.options).items()
        )
        return (
            same
            and known.get("Sources") == [str(image.resolve())]
            and image.stat().st_mtime <= mask.stat().st_mtime
        )
