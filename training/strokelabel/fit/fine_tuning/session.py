"""One fine-tuning session: its objective, training on submitted and synthetic items, and the final evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from pydantic import ValidationError
from torch import Tensor

from strokelabel.fit.data.annotated_scans.augmentation import RealAugmentation
from strokelabel.fit.data.annotated_scans.stream import RealStream, RealValidation
from strokelabel.fit.data.stream import Batch, BatchStream, JoinedValidation, MixedStream, ValidationStream
from strokelabel.fit.export import export_weights
from strokelabel.fit.fine_tuning.cases import CaseSplit
from strokelabel.fit.fine_tuning.options import FineTuneOptions, FineTuneResult
from strokelabel.fit.fine_tuning.synthetic import SyntheticPart, submitted_lesions, synthesis_of
from strokelabel.fit.fine_tuning.versions import (
    ORIGIN,
    Decision,
    ModelVersions,
    Scores,
    VersionRecord,
    decide,
)
from strokelabel.fit.fine_tuning.weights import SHARES, blend, freeze
from strokelabel.fit.loop.devices import make_fabric
from strokelabel.fit.loop.objective import ScoringStream, validate
from strokelabel.fit.loop.prefetch import PrefetchStream
from strokelabel.fit.loop.progress import TrainingProgress
from strokelabel.fit.loop.training_loop import TrainingResult, train
from strokelabel.fit.segmentation import SegmentationObjective
from strokelabel.inference.segment.predictor import LESION, Predictor
from strokelabel.io.atomic import atomic_write_json
from strokelabel.networks.unet import UNetConfig
from strokelabel.networks.weights import load_weights, save_weights
from strokelabel.registry import ModelSpec
from strokelabel.synthesis.lesions.bank import Lesion

_CANDIDATE = "candidate.safetensors"
_BLENDED = "candidate-blended.safetensors"


class FineTuneObjective(SegmentationObjective):
    """Segmentation, validated on two kinds of images.

    What decides the best checkpoint is the mean of the two Dice scores, so that a handful of submitted scans counts
    as much as a benchmark of many volumes.
    """

    score_names = ("loss", "dice_mean", "dice_submitted", "dice_benchmark")

    def item_scores(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the loss and lesion Dice of each item, and 1 for submitted ones."""
        submitted = batch.partial.to(output.device).float()
        return {**super().item_scores(output, batch), "submitted": submitted}

    def summarize(self, scores: dict[str, Tensor]) -> dict[str, float]:
        """Return the mean loss, mean Dice of each kind (NaN where there are none of it), and the mean of those."""
        dice, submitted = scores["dice"], scores["submitted"] > 0.5
        kinds = (dice[submitted].mean().item(), dice[~submitted].mean().item())
        known = [value for value in kinds if value == value]
        mean = sum(known) / len(known) if known else float("nan")
        return {
            "loss": scores["loss"].mean().item(),
            "dice_mean": mean,
            "dice_submitted": kinds[0],
            "dice_benchmark": kinds[1],
        }


def as_scores(summary: dict[str, float]) -> Scores:
    """Return the two Dice scores of a validation."""

    def known(value: float) -> float | None:
        return value if value == value else None

    return Scores(submitted=known(summary["dice_submitted"]), benchmark=known(summary["dice_benchmark"]))


OnProgress: TypeAlias = Callable[[TrainingProgress], None]
"""Called after every step."""


class RememberedValidation:
    """A validation stream that computes each batch once: a session asks for all of them some ten times.

    Args:
        stream: of few batches, which are kept in memory.
    """

    def __init__(self, stream: ValidationStream) -> None:
        self._stream = stream
        self._known: dict[int, Batch] = {}

    def __len__(self) -> int:
        return len(self._stream)

    def batch(self, index: int) -> Batch:
        """Return the batch at this position."""
        if index not in self._known:
            self._known[index] = self._stream.batch(index).to(torch.device("cpu"))
        return self._known[index]


@dataclass(frozen=True)
class Session:
    """One session.

    Attributes:
        versions: of the model; a judged session adds one.
        cache: folder of prepared scans.
        folder: of checkpoints and the record; of this session alone.
        parent: name of the version that it begins with.
        spec: that version.
        options: the chosen options.
        split: who is trained on and who is held out.
        refused: name → why a submitted label was left out.
        synthetic: synthetic samples and the benchmark; None where there are none.
        device: where everything is computed.
        processes: that train together.
    """

    versions: ModelVersions
    cache: Path
    folder: Path
    parent: str
    spec: ModelSpec
    options: FineTuneOptions
    split: CaseSplit
    refused: dict[str, str]
    synthetic: SyntheticPart | None
    device: torch.device
    processes: int = 1

    def __str__(self) -> str:
        share = f"{self.synthetic_fraction:.0%} synthetic samples"
        counts = f"{len(self.split.train)} scans to train on, {len(self.split.validation)} held out, {share}"
        return f"fine-tuning {self.spec.name} from version {self.parent}: {counts}, {self.total_steps} steps"

    @property
    def synthetic_fraction(self) -> float:
        """Synthetic fraction that is possible, at most the requested one."""
        return self.options.synthetic_fraction if self.synthetic else 0.0

    @property
    def total_steps(self) -> int:
        """Of the schedule."""
        return self.options.total_steps(len(self.split.train), self.synthetic_fraction, self.processes)

    def recorded(self) -> FineTuneResult | None:
        """Return the result of this session, if it ended before."""
        try:
            return FineTuneResult.model_validate_json((self.folder / "result.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def train(self, on_progress: OnProgress | None, should_stop: Callable[[], bool] | None) -> TrainingResult:
        """Train, going on from the newest checkpoint."""
        config = self.options.training(self.total_steps, self._lesion_weight, self.device)
        network, _ = load_weights(self.spec)
        freeze(network, self.options.freeze)
        stream = PrefetchStream(self._stream(), stride=self.processes)
        validation = self.validation
        try:
            return train(
                network,
                stream,
                validation if len(validation) else None,
                config if len(validation) else config.model_copy(update={"validate_every": 0}),
                self.folder,
                objective=self._objective(),
                device=str(self.device),
                on_progress=on_progress,
                should_stop=should_stop,
            )
        finally:
            stream.close()

    def judge(self, result: TrainingResult) -> FineTuneResult:
        """Make a version of the best checkpoint and let it take over if it may."""
        versions = self.versions
        draft = self.folder / _CANDIDATE
        spec, share, decision = self._choose(draft)
        judged = self.result(result, None).model_copy(
            update={"judged": True, "decision": decision, "share": share}
        )
        record = self._keep(judged, spec)
        for path in (draft, draft.with_name(_BLENDED)):
            path.unlink(missing_ok=True)
        if decision.activate:
            versions.activate(record.name)
        return judged.model_copy(update={"version": record.name, "active": versions.active()[0]})

    def _choose(self, draft: Path) -> tuple[ModelSpec, float, Decision]:
        """Return the weights to keep, written to `draft`: the result of training, or the average that is accepted.

        Where no part may, all of the way is kept.
        """
        versions = self.versions
        # The temperature was fitted to the weights that are trained on, and is not that of others.
        described = replace(self.spec, version=f"{versions.origin.version}+candidate", temperature=1.0)
        before = self.score(self.spec)
        origin = before if self.parent == ORIGIN else self.score(versions.origin)
        refused: Decision | None = None
        whole = export_weights(self.folder, described, draft)
        for share in SHARES:
            spec = whole if share == 1 else blend(self.spec, whole, share, draft.with_name(_BLENDED))
            decision = decide(before, self.score(spec), origin, self.options.margin)
            if decision.activate:
                return spec, share, decision
            refused = refused or decision
        assert refused is not None
        return whole, SHARES[0], refused

    def score(self, spec: ModelSpec) -> Scores:
        """Compute the Dice of some weights on the held-out labels and the benchmark."""
        validation = self.validation
        if not len(validation):
            return Scores()
        fabric = make_fabric(str(self.device), "32-true")
        network = fabric.to_device(load_weights(spec)[0])
        objective = self._objective().to(fabric.device)
        return as_scores(validate(network, validation, objective, fabric))

    @cached_property
    def validation(self) -> ScoringStream[Batch]:
        """Held-out scans, then the benchmark; empty where there is neither. Computed once, and remembered."""
        multiple = UNetConfig(**self.spec.network).multiple
        scans = [case.scan for case in self.split.validation]
        parts: list[ValidationStream] = [RealValidation(scans, multiple, self._lesion, self.device)]
        if self.synthetic is not None:
            parts.append(self.synthetic.benchmark(self.options.benchmark_per_family))
        return RememberedValidation(JoinedValidation(parts))

    def result(self, result: TrainingResult, version: str | None) -> FineTuneResult:
        """Return the outcome of training, without a decision."""
        per_family = self.options.benchmark_per_family
        return FineTuneResult(
            session=self.folder.name,
            stopped_by=result.stopped_by,
            judged=False,
            steps=result.steps,
            total_steps=self.total_steps,
            seconds=round(result.seconds, 1),
            version=version,
            active=self.versions.active()[0],
            decision=None,
            train=tuple(case.submitted.name for case in self.split.train),
            validation=tuple(case.submitted.name for case in self.split.validation),
            refused=self.refused,
            pasted=self._pasted_count(),
            synthetic_fraction=self.synthetic_fraction,
            benchmark=self.synthetic.identity(per_family) if self.synthetic else None,
        )

    def _keep(self, judged: FineTuneResult, chosen: ModelSpec) -> VersionRecord:
        """Return a version of this session; one left by a killed end of this session, if its weights are the same."""
        versions = self.versions

        def write(path: Path, name: str) -> ModelSpec:
            spec = replace(chosen, version=f"{versions.origin.version}+{name}")
            return save_weights(path, load_weights(chosen)[0], spec)

        def describe(name: str, spec: ModelSpec) -> VersionRecord:
            return VersionRecord(
                name=name,
                weights_sha256=spec.sha256,
                parent=self.parent,
                parent_sha256=self.spec.sha256,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                session=self.folder.name,
                details=self._provenance(judged),
            )

        for record in versions.records():
            same_steps = record.details.get("result", {}).get("steps") == judged.steps
            if record.session == self.folder.name and same_steps:
                return record
        return versions.add(write, describe)

    def _provenance(self, judged: FineTuneResult) -> dict[str, Any]:
        parts = (("train", self.split.train), ("validation", self.split.validation))
        return {
            "labels": [
                {
                    "name": case.submitted.name,
                    "subject": case.submitted.subject,
                    "part": part,
                    "image_sha256": case.image_sha256,
                    "label_sha256": case.label_sha256,
                }
                for part, cases in parts
                for case in cases
            ],
            "options": self.options.model_dump(mode="json"),
            "result": judged.model_dump(mode="json", exclude={"version", "active"}),
        }

    def _stream(self) -> BatchStream:
        options = self.options
        synthesis = synthesis_of(self.spec)
        augmentation = RealAugmentation(
            synthesis.shape, synthesis.deformation, options.augmentation, self.device
        )
        scans = [case.scan for case in self.split.train]
        real = RealStream(scans, augmentation, self._lesion, options.batch_size, options.seed)
        if self.synthetic is None or not options.synthetic_fraction:
            return real
        lesions = self.lesions_to_paste()
        atomic_write_json(self.folder / "pasted.json", [lesion.name for lesion in lesions])
        synthetic = self.synthetic.training(lesions, options)
        return MixedStream(synthetic, real, 1 - options.synthetic_fraction, options.batch_size)

    def lesions_to_paste(self) -> list[Lesion]:
        """Return the submitted lesions in ICBM space; the alignment of each scan is computed once and cached."""
        if not self.options.paste_lesions:
            return []
        predictor = Predictor.from_model(self.spec.path, str(self.device))
        return submitted_lesions(self.split.train, predictor, self.cache)

    def _pasted_count(self) -> int:
        try:
            return len(json.loads((self.folder / "pasted.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return 0

    def _objective(self) -> FineTuneObjective:
        return FineTuneObjective(len(self.spec.class_names), self._lesion, lesion_weight=self._lesion_weight)

    @property
    def _lesion(self) -> int:
        return self.spec.class_names.index(LESION)

    @property
    def _lesion_weight(self) -> float:
        """Of the loss that the model was trained with."""
        return float(self.spec.recipe.get("training", {}).get("lesion_weight", 1.0))
