"""Common base of the infer tasks that segment: one question, shown in several ways; and the files of answers."""

from __future__ import annotations

import logging
import tempfile
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nrrd
import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from lib.infers.caches import ScanSource
from lib.infers.infer_options import STROKE_STAGES, InferOptions, default_config
from lib.infers.progress import report
from lib.infers.report_page import write_page
from lib.infers.segmenter import Found, Question, Segmenter
from lib.refusals import InvalidRequestError
from lib.request_values import as_flag
from strokelabel.geometry import LPS_TO_RAS
from strokelabel.inference.segment.prediction import Prediction, decide
from strokelabel.io.images import Image, write_nifti
from strokelabel.labels import CLASS_COLORS
from strokelabel.outcome.estimate import StrokeStage

if TYPE_CHECKING:
    from strokelabel.inference.segment.prediction import Prediction


def mean_confidence(prediction: Prediction) -> float | None:
    """Return the mean lesion probability inside the mask; None where there is no lesion."""
    lesion = prediction.lesion_mask > 0
    return round(float(prediction.lesion_probability[lesion].mean()), 4) if lesion.any() else None


def write_result(values: np.ndarray, image: Image, options: InferOptions) -> str:
    """Write labels, or a map (both i, j, k), onto the grid of their image.

    Args:
        values: floats are a map and written as float32; anything else is labels of the requested type.
        image: the scan.
        options: format, type and compression.

    Returns:
        Path of a temporary file; the server removes it once it is sent.

    Raises:
        OutputError: the type cannot hold the values, or the disk is full.
    """
    dtype = "float32" if values.dtype.kind == "f" else options.dtype
    with tempfile.NamedTemporaryFile(suffix=options.extension, delete=False) as file:
        path = Path(file.name)
    try:
        if options.extension == ".nrrd":
            _write_nrrd(path, values.astype(dtype), image.affine, options.compress)
        else:
            write_nifti(path, values, image, dtype, description="StrokeLabel")
    except Exception:
        path.unlink(missing_ok=True)
        raise
    return str(path)


def _write_nrrd(path: Path, labels: np.ndarray, affine: np.ndarray, compress: bool) -> None:
    """Write a NRRD. Browsers read its voxels without unpacking them when `compress` is off.

    The axes are written as vectors, not as directions and sizes, so that a sheared grid stays what it is.
    """
    lps = LPS_TO_RAS @ affine
    header = {
        "space": "left-posterior-superior",
        "kinds": ["domain"] * 3,
        "space directions": lps[:3, :3].T,
        "space origin": lps[:3, 3],
        "encoding": "gzip" if compress else "raw",
    }
    nrrd.write(str(path), labels, header, index_order="F")


logger = logging.getLogger(__name__)


class PredictionTask(InferTask):
    """Task that segments a scan and answers with a mask or a map on the scan's own grid.

    Args:
        segmenter: what segments.
        labels: name -> value in the mask.
        description: for /info/.
        fixed: options that this task decides itself, and that viewers are not shown.
    """

    def __init__(
        self, segmenter: Segmenter, labels: dict[str, int], description: str, fixed: Sequence[str] = ()
    ) -> None:
        config = {name: value for name, value in default_config().items() if name not in fixed}
        if segmenter.structures is not None:
            config["structures"] = True
        if segmenter.outcome is not None:
            config["stroke_stage"] = list(STROKE_STAGES)
        super().__init__(InferType.SEGMENTATION, labels, 3, description, config)
        self._segmenter = segmenter

    @abstractmethod
    def shown(self, prediction: Prediction) -> np.ndarray:
        """Return the labels (i, j, k) of this task."""

    def options_of(self, request: Mapping[str, Any]) -> InferOptions:
        """Return the options of a request.

        Raises:
            InvalidRequestError, OptionError: saying what was expected of which option.
        """
        return InferOptions.from_request(request)

    def question(self, request: Mapping[str, Any], options: InferOptions) -> Question:
        """Return the question to the network that a request needs.

        Raises:
            InvalidRequestError: it names a sequence that is not there.
        """
        source = ScanSource(request["image"], request["image_name"])
        return self._segmenter.ask([source], options.prediction, options.device, kind_of(options))

    def is_valid(self) -> bool:
        """Return whether /info/ lists the task: always, since a server without its model does not start."""
        return True

    def info(self) -> dict[str, Any]:
        """Return the task's entry in /info/: the keys that every viewer reads, and colours and the model for ours."""
        spec = self._segmenter.model.spec
        model = {"name": spec.name, "version": spec.version}
        return {**super().info(), "label_colors": self._colors(), "model": model}

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segment the image at the path `request["image"]`.

        A mask is written even when nothing is found: viewers keep the last one when none comes.

        Returns:
            Path of a temporary file with the labels or the map, and the JSON of the answer.

        Raises:
            ImageError, OptionError, InvalidRequestError: something that the client can mend.
            BusyError: too many requests wait.
        """
        began = time.perf_counter()
        options = self.options_of(request)
        _check_label_is_a_mask(request, options)
        question, with_structures = self.question(request, options), options.with_structures
        with self._segmenter.answering(question, with_structures) as found:
            spec = self._segmenter.model.spec
            scores = found.result.scores()
            prediction = decide(scores, found.image.grid.voxel_volume_ml, spec, options.prediction)
            told = self._structures(question, prediction, found) if with_structures else {}
            told |= self._outcome(prediction, found, options)
            asked = time.perf_counter()
            file = self._file(prediction, found, question, options, told)
            answer = self._answer(prediction, found, options) | told
        ended = time.perf_counter()
        logger.info(f"Segmented in {ended - began:.1f} s: {answer['volume_ml']:.2f} ml of lesion")
        return file, {**answer, "latencies": _latencies(began, asked, ended)}

    def _structures(self, question: Question, prediction: Prediction, found: Found) -> dict[str, Any]:
        """Return the entry `structures` of the answer; nothing where the server has no model for them."""
        structures = self._segmenter.lesion_structures(question, found.image, prediction.lesion_mask)
        return {} if structures is None else {"structures": structures}

    def _outcome(self, prediction: Prediction, found: Found, options: InferOptions) -> dict[str, Any]:
        """Return the entry `outcome` of the answer; nothing for maps, and where the server estimates none."""
        estimator = self._segmenter.outcome
        if estimator is None or not options.is_about_the_lesion:
            return {}
        report("estimating the outcome", 0.0)
        stage = StrokeStage(options.stroke_stage)
        labels, names = prediction.labels, prediction.spec.class_names
        estimate = estimator.estimate(labels, names, found.image.grid, stage)
        model = {"name": estimator.name, "weights_sha256": estimator.sha256}
        return {"outcome": {"model": model, **estimate.as_json()}}

    def _file(
        self,
        prediction: Prediction,
        found: Found,
        question: Question,
        options: InferOptions,
        told: Mapping[str, Any],
    ) -> str:
        """Write the answer's file."""
        if options.result == "report":
            return write_page(prediction, found.image, question.sources[0].name, question.contents[0], told)
        return write_result(self._values(prediction, found, options), found.image, options)

    def _values(self, prediction: Prediction, found: Found, options: InferOptions) -> np.ndarray:
        """Return the voxels of the answer's file."""
        if options.result == "mask":
            return self.shown(prediction)
        if options.result == "probability":
            return prediction.lesion_probability
        maps = found.result.maps()
        if maps is None:
            raise InvalidRequestError(f"result: there is no {options.uncertainty} of this scan; ask again.")
        return np.asarray(getattr(maps, options.uncertainty.replace(" ", "_")))

    def _colors(self) -> dict[str, list[int]]:
        return {name: list(CLASS_COLORS[name]) for name in self.labels if name in CLASS_COLORS}

    def _answer(self, prediction: Prediction, found: Found, options: InferOptions) -> dict[str, Any]:
        known = ("model", "passes", "method", "sequences", "adaptation")
        return {
            "label_names": self.labels,
            "label_colors": self._colors(),
            **{name: found.result.about[name] for name in known if name in found.result.about},
            "result": options.result,
            "volume_ml": round(float(prediction.volume_ml), 3),
            "lesion_count": int(prediction.lesion_count),
            "mean_confidence": mean_confidence(prediction),
            "notes": list(prediction.notes),
            "cached": found.cached,
            "centroids": {},  # browsers expect the entry
        }


def kind_of(options: InferOptions) -> Any:  # noqa: ANN401 - a literal of two words
    """Return the kind of a question: one pass, or several views."""
    return "views" if options.result == "uncertainty" else "plain"


def with_all_flips(options: InferOptions) -> InferOptions:
    """Return the options, with all flips that the network was trained with."""
    return replace(options, prediction=replace(options.prediction, tta=True))


def _check_label_is_a_mask(request: Mapping[str, Any], options: InferOptions) -> None:
    if options.result != "mask" and as_flag(request.get("save_label"), "save_label", default=False):
        raise InvalidRequestError(
            f"save_label: expected the result 'mask' for a label, found {options.result!r}; leave one of them out."
        )


def _latencies(began: float, asked: float, ended: float) -> dict[str, float]:
    """Return the seconds of each step, under MONAI Label's names; waiting and reading are part of its "infer" here."""
    spans = {"infer": asked - began, "write": ended - asked, "total": ended - began}
    return {name: round(seconds, 3) for name, seconds in spans.items()} | dict.fromkeys(
        ("pre", "invert", "post"), 0.0
    )
