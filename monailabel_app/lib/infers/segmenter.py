"""Scores of a scan, from the cache or from the network, for all infer tasks in turn."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

import strokelabel
from lib.infers.caches import RecentScans, ResultCache, ScanSource, StoredResult
from lib.infers.device_queue import MOST_WAITING, InferenceQueue, client_gave_up
from lib.infers.progress import report
from lib.infers.structures import StructureFinder
from lib.model import ServedModel
from lib.refusals import BusyError
from lib.studies.scan_list import read_scan
from strokelabel.adaptation.adapt import adapt
from strokelabel.adaptation.options import AdaptationOptions
from strokelabel.errors import StrokeLabelError
from strokelabel.inference.interruption import Check
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate import Parcellation
from strokelabel.inference.segment.ensemble import OtherSequence, predict_ensemble
from strokelabel.inference.segment.prediction import Scores
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.segment.structure_tables import structures_of_lesion
from strokelabel.inference.segment.uncertainty import Passes, Uncertainty, estimate_uncertainty
from strokelabel.io.images import Image
from strokelabel.io.volumes import scan_content
from strokelabel.outcome.estimate import OutcomeEstimator
from strokelabel.registry import ModelSpec, find_model

logger = logging.getLogger(__name__)

Kind = Literal["plain", "views"]
"""Kind of scores: from one pass (or over flips, by `tta`), or from several views for maps of uncertainty."""

_DECIDED_LATER = (
    "threshold",
    "min_size_ml",
    "fill_holes",
    "keep_outside_brain",
    "keep_probabilities",
    "max_voxels",
)
"""Options that do not change what the network says."""

_ASK_EVERY_S = 0.2
"""While the network computes, whether the client is still there."""


@dataclass(frozen=True)
class Question:
    """Question to the network; equal questions have equal answers.

    Attributes:
        sources: the scan, and the other sequences that are predicted with it.
        contents: `scan_content` of each.
        options: of the prediction.
        device: "cpu", "cuda" or "cuda:<n>".
        kind: see `Kind`.
        ensemble: whether it is asked of the sequences together, be they one or many.
        adaptation: of the model to the scan; None for the model as it is.
    """

    sources: tuple[ScanSource, ...]
    contents: tuple[str, ...]
    options: PredictionOptions
    device: str
    kind: Kind
    ensemble: bool
    adaptation: AdaptationOptions | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """Answer: the scan, the network's output for it, and whether that was cached."""

    image: Image
    result: StoredResult
    cached: bool


class Segmenter:
    """Scores of scans by the served model.

    Attributes:
        adaptation_seconds: time that the last adaptation took, prediction included; None before the first.

    Args:
        model: the model.
        cache: where results are kept.
        most_waiting: how many requests may wait for a device, and how many for files.
        structures: finds the structures that lesions touch; None for answers without them.
        outcome: estimates an outcome of strokes; None for answers without it.
    """

    def __init__(
        self,
        model: ServedModel,
        cache: ResultCache,
        most_waiting: int = MOST_WAITING,
        structures: StructureFinder | None = None,
        outcome: OutcomeEstimator | None = None,
    ) -> None:
        self.model = model
        self.structures = structures
        self.outcome = outcome
        self._cache = cache
        self._most_waiting = most_waiting
        self._recent = RecentScans()
        self._devices: dict[str, InferenceQueue] = {}
        self._files = InferenceQueue(most_waiting, "requests")
        self.adaptation_seconds: float | None = None

    @staticmethod
    def ask(
        sources: Sequence[ScanSource],
        options: PredictionOptions,
        device: str,
        kind: Kind = "plain",
        ensemble: bool = False,
        adaptation: AdaptationOptions | None = None,
    ) -> Question:
        """Return a question about a scan and, for an ensemble, other sequences."""
        contents = tuple(scan_content(source.path) for source in sources)
        return Question(tuple(sources), contents, options, device, kind, ensemble, adaptation)

    @contextmanager
    def answering(self, question: Question, with_structures: bool = False) -> Iterator[Found]:
        """Yield the answer to a question, and keep the turn while it is used, since that takes memory too.

        Args:
            question: about a scan.
            with_structures: `lesion_structures` is called within the turn.

        Raises:
            BusyError: too many wait.
            ImageError, StrokeLabelError: the scan cannot be segmented, or not here.
        """
        known = self._cache.has(_key(question, self.model.spec))
        if with_structures and self.structures is not None:
            known &= self.structures.known(question.contents[0], question.options) is not None
        queue = self._files if known else self._device(question.device)
        with queue.turn(client_gave_up):
            yield self.find(question)

    @contextmanager
    def correcting(self, source: ScanSource) -> Iterator[Image]:
        """Yield a scan, and a turn to correct its mask in; `find` may be asked meanwhile.

        Raises:
            BusyError: too many wait.
            ImageError: it cannot be read.
        """
        content = scan_content(source.path)
        with self._files.turn(client_gave_up):
            yield self._recent.get(source, content)

    def find(self, question: Question) -> Found:
        """Return the answer to a question, within a turn.

        Raises: as `answering`.
        """
        image = self._recent.get(question.sources[0], question.contents[0])
        if (stored := self._stored(question, self.model.spec, image)) is not None:
            return Found(image, stored, cached=True)
        with self._device(question.device).turn(client_gave_up):
            predictor = self.model.predictor(question.device)
            stored = self._stored(question, predictor.spec, image)  # another one may have asked meanwhile
            if stored is not None:
                return Found(image, stored, cached=True)
            began = time.perf_counter()
            stored = _ask_network(predictor, question, image)
            if question.adaptation is not None:
                self.adaptation_seconds = time.perf_counter() - began
            self._cache.put(_key(question, predictor.spec), stored)
            return Found(image, stored, cached=False)

    def known_probability(self, question: Question) -> np.ndarray | None:
        """Return the lesion's probability (i, j, k) of a scan that has been segmented; None for any other."""
        stored = self._cache.get(_key(question, self.model.spec))
        return stored.scores().lesion_probability if stored is not None else None

    def lesion_structures(
        self, question: Question, image: Image, lesion: np.ndarray
    ) -> dict[str, Any] | None:
        """Return the structures that a lesion (i, j, k) touches, as JSON; None from a server without them.

        Raises: as `answering`.
        """
        if self.structures is None:
            return None
        parcellation = self.structures.known(question.contents[0], question.options)
        if parcellation is None:
            with self._device(question.device).turn(client_gave_up):
                parcellation = self._parcellate(self.structures, question, image)
        found = structures_of_lesion(lesion, parcellation, image)
        spec = self.structures.spec
        return {"model": {"name": spec.name, "version": spec.version}, **found.as_json()}

    @staticmethod
    def _parcellate(structures: StructureFinder, question: Question, image: Image) -> Parcellation:
        def told(_: str, fraction: float) -> None:
            report("finding structures", fraction)

        check, options = _unless_the_client_left(), question.options
        try:
            return structures.find(image, question.contents[0], options, question.device, check, told)
        except MemoryError as error:
            raise StrokeLabelError(
                "The server has not enough memory to find the structures of a scan of this size; ask without them."
            ) from error

    def _stored(self, question: Question, spec: ModelSpec, image: Image) -> StoredResult | None:
        stored = self._cache.get(_key(question, spec))
        return stored if stored is not None and tuple(stored.about["shape"]) == image.data.shape else None

    def _device(self, name: str) -> InferenceQueue:
        return self._devices.setdefault(name, InferenceQueue(self._most_waiting))


def _key(question: Question, spec: ModelSpec) -> str:
    """Return the name of the cache entry of a question to a model."""
    options = {key: value for key, value in asdict(question.options).items() if key not in _DECIDED_LATER}
    decides = {
        "version": strokelabel.__version__,
        "weights": spec.sha256,
        "contents": question.contents,
        "names": [source.name for source in question.sources[1:]],  # the answer names them
        "options": options,
        "kind": question.kind,
        "ensemble": question.ensemble,
        **_adaptation_key(question.adaptation),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _adaptation_key(adaptation: AdaptationOptions | None) -> dict[str, Any]:
    """Return what decides an adapted answer besides the rest; nothing for the model as it is."""
    if adaptation is None:
        return {}
    key: dict[str, Any] = {"adaptation": asdict(adaptation)}
    if adaptation.method == "dae":
        key["denoiser"] = find_model(adaptation.denoiser).sha256
    return key


def _ask_network(predictor: Predictor, question: Question, image: Image) -> StoredResult:
    """Return the answer of the network, without the cache.

    Raises:
        StrokeLabelError: there is not enough memory.
        BusyError: the client has left meanwhile.
    """
    try:
        with predictor.interruptible(_unless_the_client_left()):
            found, about = (
                _ensemble(predictor, question, image)
                if question.ensemble
                else _one(predictor, question, image)
            )
    except MemoryError as error:
        raise StrokeLabelError(
            "The server has not enough memory for a scan of this size; resample it, or ask for another device."
        ) from error
    model = {"name": predictor.spec.name, "version": predictor.spec.version}
    maps = found.maps if isinstance(found, Uncertainty) and question.kind == "views" else None
    scores = found.scores if isinstance(found, Uncertainty) else found
    return StoredResult.pack(scores, maps, model=model, **about)


def _one(
    predictor: Predictor, question: Question, image: Image
) -> tuple[Scores | Uncertainty, dict[str, Any]]:
    if question.adaptation is not None:
        return _adapted(predictor, question.adaptation, question.options, image)
    if question.kind == "plain":
        return predictor.scores(image, question.options, report), {}
    found = estimate_uncertainty(predictor, image, question.options, progress=report)
    return found, {"passes": found.passes, "method": found.method}


def _adapted(
    predictor: Predictor, adaptation: AdaptationOptions, options: PredictionOptions, image: Image
) -> tuple[Scores, dict[str, Any]]:
    """Return the scores that an adaptation keeps, and its report."""
    said = -1

    def told(stage: str, fraction: float) -> None:
        nonlocal said
        report(stage, fraction)
        if int(10 * fraction) > said:
            said = int(10 * fraction)
            logger.info(f"Adaptation ({adaptation.method}), {stage}: {fraction:.0%}")

    found = adapt(predictor, image, adaptation, options, told)
    return found.scores, {"adaptation": found.report.as_json()}


def _ensemble(predictor: Predictor, question: Question, image: Image) -> tuple[Uncertainty, dict[str, Any]]:
    others = [OtherSequence(one.name, partial(read_scan, one.path, one.name)) for one in question.sources[1:]]
    passes = Passes() if question.kind == "views" else None
    together = predict_ensemble(predictor, image, others, question.options, passes, report)
    return together.found, {"passes": together.found.passes, "sequences": list(together.used)}


def _unless_the_client_left() -> Check:
    """Return a check that ends a computation whose client has closed the connection; it asks now and then."""
    asked = time.monotonic()

    def check() -> None:
        nonlocal asked
        if time.monotonic() - asked < _ASK_EVERY_S:
            return
        asked = time.monotonic()
        if client_gave_up():
            logger.info("An inference was stopped: its client closed the connection")
            raise BusyError("The client closed the connection: the inference was stopped.")

    return check
