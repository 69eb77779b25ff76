"""Adaptation of a model to a cohort: pseudo-labels, training, and the judgement of what came out of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from strokelabel import __version__
from strokelabel.adaptation.cohort.pseudo_labels import LabelledScan, OnPart, PseudoLabeler
from strokelabel.adaptation.cohort.report import (
    CohortReport,
    CohortRow,
    ScanChange,
    objections,
    read_report,
    row_of,
)
from strokelabel.adaptation.cohort.training import PseudoObjective, PseudoStream
from strokelabel.adaptation.options import CohortOptions
from strokelabel.adaptation.safety import summarise
from strokelabel.errors import DataError, OutputError, StrokeLabelError
from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.fine_tuning.adapted import PROVENANCE
from strokelabel.fit.loop.checkpoint import load_checkpoint
from strokelabel.fit.loop.devices import fastest_precision
from strokelabel.fit.loop.progress import TrainingProgress
from strokelabel.fit.loop.training_loop import TrainingResult, train
from strokelabel.inference.network_input import OnProgress, silent
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.torch_network import TensorEngine
from strokelabel.io import read_image
from strokelabel.io.atomic import atomic_path, atomic_write_json
from strokelabel.io.file_search import SearchProblem, absolute_path
from strokelabel.io.volumes import scan_content
from strokelabel.networks.weights import load_weights, save_weights
from strokelabel.registry import ModelSpec, read_header

MODEL, RECORD = "model.safetensors", "adaptation.json"
"""Names of the results in the folder of an adaptation."""

_WORK, _CANDIDATE = "work", "candidate.safetensors"

OnStep = Callable[[TrainingProgress], None]
"""Called after every step of the training."""


@dataclass(frozen=True)
class _Scan:
    source: Path
    content: str
    labels: Path


class CohortAdaptation:
    """Adaptation of a model to a cohort in a folder; call `label`, `train` and `finish`, in this order.

    Everything is kept in the folder as it is made: the same adaptation, begun again after a stop of any kind, continues
    where it was. The model that it begins with, its file and the network in memory, stays as it is.

    Args:
        predictor: the model.
        images: paths for `read_image`.
        folder: of the results.
        options: see `CohortOptions`.
        problems: entries that the search for scans left out; they count as failed.
        overwrite: replace the results of another adaptation.

    Raises:
        OptionError: the method needs dropout, and the network has none.
        WeightsError: the method needs features of a decoder, and the network has none.
        OutputError: the folder holds another adaptation.
    """

    def __init__(
        self,
        predictor: Predictor,
        images: Sequence[Path],
        folder: Path,
        options: CohortOptions,
        problems: Sequence[SearchProblem] = (),
        overwrite: bool = False,
    ) -> None:
        self._predictor, self._options, self._folder = predictor, options, Path(folder)
        self._labeler = PseudoLabeler(predictor, options)
        self._problems = list(problems)
        made_by = _made_by(predictor, options)
        labels = self._folder / _WORK / "labels"
        self._scans = [
            _Scan(path, content, labels / f"{_digest([made_by, content])}.safetensors")
            for path, content in ((Path(path), scan_content(path)) for path in images)
        ]
        self.key = _digest([made_by, asdict(options), [scan.content for scan in self._scans]])
        self._rows: list[CohortRow] = []
        self._labelled: list[_Scan] = []
        self._result: TrainingResult | None = None
        known = read_report(self._folder / RECORD)
        if known is not None and known.key != self.key and not overwrite:
            raise OutputError(
                "holds the adaptation of another model, to other scans or with other options; choose another folder, "
                "or overwrite.",
                source=self._folder,
            )
        self._known = known if known is not None and known.key == self.key else None

    @property
    def earlier(self) -> CohortReport | None:
        """Report of the same adaptation, where it was accepted before and its model is still there."""
        known = self._known
        return known if known is not None and known.accepted and (self._folder / MODEL).exists() else None

    def label(self, progress: OnProgress = silent) -> Iterator[CohortRow]:
        """Yield a row for each scan once its pseudo-labels are there; an error in one scan ends no other.

        Args:
            progress: told of each scan's own progress; what it raises ends the labelling.
        """
        self._rows, self._labelled = [], []
        for problem in self._problems:
            yield self._add(CohortRow(problem.path, status="failed", reason=problem.reason))
        for scan in self._scans:
            yield self._add(self._label(scan, lambda fraction: progress("labelling", fraction)))

    def train(
        self, on_step: OnStep | None = None, should_stop: Callable[[], bool] | None = None
    ) -> TrainingResult | None:
        """Train on the pseudo-labels, going on from the newest checkpoint; return None where there are no steps.

        Args:
            on_step: called after every step; None shows a bar on a terminal, and elsewhere a line now and then.
            should_stop: asked after every step; true ends training with a checkpoint, as SIGINT does. The result's
                `finished` is false then, and `finish` must not be called.

        Raises:
            DataError: of no scan is anything left to train on.
            CheckpointError, TrainingError, OutputError: see `fit.loop.train`.
        """
        if not self._labelled:
            raise DataError(
                "expected scans with voxels to train on, found none: all scans failed, or no voxel is as confident, "
                "certain and alike as required; lower the confidence",
                source=self._folder,
            )
        if self._options.steps == 0:
            return None
        spec, options = self._predictor.spec, self._options
        network, _ = load_weights(spec, str(self._predictor.device))
        stream = PseudoStream(
            [scan.labels for scan in self._labelled],
            len(spec.class_names),
            self._predictor.lesion,
            self._predictor.multiple,
            options.window_voxels,
            options.seed,
        )
        self._result = train(
            network,
            stream,
            None,
            _training(options, self._predictor.device),
            self._folder / _WORK / f"training-{self.key[:16]}",
            objective=PseudoObjective(spec.temperature),
            device=str(self._predictor.device),
            on_progress=on_step,
            should_stop=should_stop,
        )
        return self._result

    def finish(self, progress: OnProgress = silent, force: bool = False) -> CohortReport:
        """Compare the outputs before and after, and write the model if nothing speaks against it.

        Args:
            progress: told how far it is.
            force: write the model whatever speaks against it; the report has that.

        Returns:
            The report, as it is written beside the model. Where it is not accepted there is no model.

        Raises:
            OutputError: something cannot be written.
        """
        candidate = self._folder / _WORK / _CANDIDATE
        spec = self._write(candidate)
        changes = self._changes(spec, progress)
        against = objections(changes) if self._options.steps else []
        accepted = force or not against
        if accepted:
            candidate.replace(self._folder / MODEL)
            spec = replace(spec, path=self._folder / MODEL)
        else:
            (self._folder / MODEL).unlink(missing_ok=True)  # of another adaptation, which is overwritten
        report = CohortReport(
            strokelabel_version=__version__,
            key=self.key,
            method=self._options.method,
            options=asdict(self._options),
            threshold=self._options.threshold(len(spec.class_names)),
            model=_named(self._predictor.spec),
            adapted=_named(spec),
            accepted=accepted,
            forced=force and bool(against),
            objections=against,
            seconds=round(self._result.seconds, 1) if self._result else 0.0,
            skipped_steps=self._result.skipped if self._result else 0,
            scans=[row.as_json() for row in self._rows],
            changes={change.source: change.as_json() for change in changes},
        )
        atomic_write_json(self._folder / RECORD, asdict(report))
        if accepted:  # what is only needed to go on
            shutil.rmtree(self._folder / _WORK, ignore_errors=True)
        progress("done", 1.0)
        return report

    def _add(self, row: CohortRow) -> CohortRow:
        self._rows.append(row)
        return row

    def _label(self, scan: _Scan, report: OnPart) -> CohortRow:
        """Make the pseudo-labels of a scan, or find them."""
        began, source = time.perf_counter(), str(absolute_path(scan.source))
        known = LabelledScan.read(scan.labels) if scan.content else None
        try:
            labelled = known or self._labeler.label(read_image(scan.source), report)
            if known is None:
                labelled.write(scan.labels)
        except OutputError:  # the next scan could not be written either
            raise
        except StrokeLabelError as error:
            return CohortRow(source, status="failed", reason=str(error))
        if labelled.kept.kept:
            self._labelled.append(scan)
        return row_of(source, labelled, time.perf_counter() - began, known is not None)

    def _write(self, path: Path) -> ModelSpec:
        """Write the trained model; without steps the same file once more, bit for bit."""
        spec, options = self._predictor.spec, self._options
        if self._result is None:
            with atomic_path(path) as temporary:
                shutil.copyfile(spec.path, temporary)
            return replace(spec, path=path)
        summary = {"parent_sha256": spec.sha256, "scans": len(self._labelled), **asdict(options)}
        described = replace(
            spec,
            version=f"{spec.version}+{options.method}",
            description=f"{spec.description}; adapted to {len(self._labelled)} scans ({options.method})",
            recipe={**spec.recipe, PROVENANCE: summary},
        )
        weights = load_checkpoint(self._result.checkpoint).weights
        dtypes = {about.get("dtype") for name, about in read_header(spec.path).items() if name[:2] != "__"}
        return save_weights(path, weights, described, "float16" if dtypes == {"F16"} else "float32")

    def _changes(self, adapted: ModelSpec, progress: OnProgress) -> list[ScanChange]:
        """Return the outputs for each scan before and after."""
        network, _ = load_weights(adapted, str(self._predictor.device))
        after = Predictor(adapted, network, self._predictor.device, self._predictor.options)
        engine = TensorEngine(after.engine(after.options))
        changes = []
        for index, scan in enumerate(self._labelled):
            progress("comparing", index / len(self._labelled))
            labelled = LabelledScan.read(scan.labels)
            if labelled is None:
                raise DataError("expected the pseudo-labels of a scan; run again", source=scan.labels)
            found: Tensor = engine.probabilities(labelled.item[None])
            summary = summarise(found, labelled.head, adapted)
            changes.append(ScanChange(str(absolute_path(scan.source)), labelled.plain, summary))
        return changes


def adapt_to_cohort(
    predictor: Predictor,
    images: Sequence[Path],
    folder: Path,
    options: CohortOptions,
    *,
    progress: OnProgress = silent,
    should_stop: Callable[[], bool] | None = None,
    force: bool = False,
) -> CohortReport | None:
    """Adapt a model to a cohort; see `CohortAdaptation`.

    Args:
        predictor: the model, with the options of its predictions.
        images: paths for `read_image`.
        folder: of the results: `MODEL` and `RECORD`.
        options: see `CohortOptions`.
        progress: told how far the present part is.
        should_stop: asked after every step of the training.
        force: see `CohortAdaptation.finish`.

    Returns:
        The report; None where it was stopped, to be gone on with by the same call.

    Raises: as `CohortAdaptation` and its methods.
    """
    adaptation = CohortAdaptation(predictor, images, folder, options)
    if adaptation.earlier is not None:
        return adaptation.earlier
    for _ in adaptation.label(progress):
        pass
    result = adaptation.train(lambda at: progress("training", at.step / at.steps), should_stop)
    if result is not None and not result.finished:
        return None
    return adaptation.finish(progress, force)


def _made_by(predictor: Predictor, options: CohortOptions) -> dict[str, object]:
    """Return what decides pseudo-labels besides the scan."""
    prediction: PredictionOptions = predictor.options
    return {
        "strokelabel_version": __version__,
        "weights_sha256": predictor.spec.sha256,
        "method": options.method,
        "threshold": options.threshold(len(predictor.spec.class_names)),
        "dropout": options.dropout,
        "view": prediction.view,
        "ct_window": prediction.ct_window,
    }


def _training(options: CohortOptions, device: torch.device) -> TrainingConfig:
    """Return the settings of the loop: a fixed rate and the last weights, as in the paper."""
    return TrainingConfig(
        steps=options.steps,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        decay_power=0.0,
        ema_decay=0.0,
        precision=fastest_precision(device),
        seed=options.seed,
        validate_every=0,
        checkpoint_every=100,
        checkpoint_minutes=1.0,
        keep_last=2,
    )


def _named(spec: ModelSpec) -> dict[str, str]:
    return {"name": spec.name, "version": spec.version, "sha256": spec.sha256}


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
