"""Score models on the synthetic benchmark, at 1 mm, through the predictor that users run."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.segment.scores import Scores, decide
from strokelabel.io.atomic import atomic_write_text
from strokelabel.io.images import Image
from strokelabel.labels import TissueClass
from strokelabel.metrics import dice
from strokelabel.reports.contact_sheet import Panel, make_panel, save_contact_sheet
from strokelabel.synthesis.benchmark import ValidationCase, make_case
from strokelabel.synthesis.generator import Synthesizer, SyntheticBatch

VALIDATION_SHAPE = (192, 240, 208)
"""Voxels of 1 mm; a whole head fits."""

_HALF = 0.5


@dataclass(frozen=True, eq=False)
class Contender:
    """A model with options, by the name that tables give it; contenders may share a predictor."""

    name: str
    predictor: Predictor
    options: PredictionOptions


@dataclass(frozen=True)
class CaseScore:
    """Score of one contender on one volume. Volumes in ml; Dice in [0, 1], 1 where a lesion-free head was left alone.

    Attributes:
        case: which volume.
        method: name of the contender.
        dice: of its mask.
        oracle: Dice of an observer who sees all that the scanner left of the lesion: where more than half of a voxel of
            the blurred, noiseless image is lesion. No model can be expected to do better.
        reference_ml: volume of the label.
        predicted_ml: volume of its mask.
        seconds: time that the prediction took.
        panel: picture.
    """

    case: ValidationCase
    method: str
    dice: float
    oracle: float
    reference_ml: float
    predicted_ml: float
    seconds: float
    panel: Panel

    @property
    def slices(self) -> str:
        """Slice spacing, for tables."""
        return f"{self.case.slice_mm:g} mm" if self.case.slice_mm else "1 mm"


def score_cases(
    contenders: Sequence[Contender],
    synthesizer: Synthesizer,
    cases: Sequence[ValidationCase],
) -> Iterator[list[CaseScore]]:
    """Make each volume, predict it with every contender, and compare with the truth.

    Args:
        contenders: of different names; those that differ in their threshold alone share a pass of the network.
        synthesizer: with `validation_config` at 1 mm, unseen heads and unseen lesions.
        cases: which volumes.
    """
    for case in cases:
        yield score_volume(contenders, make_case(synthesizer, case, keep_visible=True), case)


def as_scan(batch: SyntheticBatch, spacing_mm: float, source: str) -> Image:
    """Convert the first image of a batch to a scan: not negative, zero where the air is zero."""
    data = (batch.image[0, 0] - batch.image[0, 0].min()).cpu().numpy()
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    return Image(data.astype(np.float32), affine, source=source)


def score_volume(
    contenders: Sequence[Contender], batch: SyntheticBatch, case: ValidationCase
) -> list[CaseScore]:
    """Predict one volume with every contender.

    Args:
        contenders: as for `score_cases`.
        batch: one volume, with what can be seen of its lesions.
        case: which volume it is.
    """
    kind = "lesion-free" if case.lesion_free else "validation"
    scan = as_scan(batch, 1.0, f"{kind}-{case.index:03d}")
    truth = (batch.target[0] == TissueClass.LESION).cpu().numpy()
    assert batch.visible is not None, "it was requested"
    oracle = dice(truth, (batch.visible[0] > _HALF).cpu().numpy())
    known: dict[tuple[int, PredictionOptions], tuple[Scores, float]] = {}
    found = [_compare(contender, scan, truth, case, known) for contender in contenders]
    return [replace(score, oracle=oracle) for score in found]


def _compare(
    contender: Contender,
    scan: Image,
    truth: np.ndarray,
    case: ValidationCase,
    known: dict[tuple[int, PredictionOptions], tuple[Scores, float]],
) -> CaseScore:
    """Score one contender; `known` receives what the networks said."""
    began = time.perf_counter()
    passes = replace(
        contender.options, threshold=None, min_size_ml=0.0, fill_holes=False, keep_outside_brain=False
    )
    key = (id(contender.predictor), passes)
    if key not in known:
        scores = contender.predictor.scores(scan, passes)
        known[key] = (scores, time.perf_counter() - began)
        began = time.perf_counter()
    scores, seconds = known[key]
    prediction = decide(scores, scan.grid.voxel_volume_ml, contender.predictor.spec, contender.options)
    mask = prediction.lesion_mask.astype(bool)
    value = dice(truth, mask)
    return CaseScore(
        case=case,
        method=contender.name,
        dice=value,
        oracle=1.0,
        reference_ml=float(truth.sum()) / 1000,
        predicted_ml=prediction.volume_ml,
        seconds=seconds + time.perf_counter() - began,
        panel=make_panel(scan.data, {"lime": truth, "red": mask}, f"{case.family} {value:.2f}"),
    )


def write_table(scores: Sequence[CaseScore], path: Path) -> None:
    """Write one CSV row per volume and contender, atomically."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        [
            "case",
            "lesion_free",
            "family",
            "slices",
            "method",
            "dice",
            "oracle",
            "reference_ml",
            "predicted_ml",
            "seconds",
        ]
    )
    for s in scores:
        numbers = (s.dice, s.oracle, s.reference_ml, s.predicted_ml, s.seconds)
        facts = (s.case.index, str(s.case.lesion_free).lower(), s.case.family, s.slices, s.method)
        table.writerow([*facts, *(f"{n:.4f}" for n in numbers)])
    atomic_write_text(path, text.getvalue())


def write_pictures(scores: Sequence[CaseScore], folder: Path, count: int = 12) -> None:
    """Write contact sheets of each contender, truth in green and prediction in red.

    Written are `best-METHOD.png`, `worst-METHOD.png` and, of lesion-free heads in which it found most,
    `false-METHOD.png`.
    """
    for method in dict.fromkeys(score.method for score in scores):
        own = [s for s in scores if s.method == method]
        ranked = sorted((s for s in own if not s.case.lesion_free), key=lambda s: s.dice)
        false = sorted(
            (s for s in own if s.case.lesion_free and s.predicted_ml), key=lambda s: -s.predicted_ml
        )
        for name, shown in (("best", ranked[::-1]), ("worst", ranked), ("false", false)):
            if shown:
                save_contact_sheet([s.panel for s in shown[:count]], folder / f"{name}-{method}.png")
