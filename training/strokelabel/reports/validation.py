"""Validation of a model on simulated and synthetic cohorts, and its tables."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.prediction import Scores, decide
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io.atomic import atomic_write_text
from strokelabel.io.images import Image
from strokelabel.labels import TissueClass
from strokelabel.metrics import dice
from strokelabel.reports.contact_sheet import Panel, make_panel, save_contact_sheet
from strokelabel.reports.evaluation.tables import Cell, Table
from strokelabel.reports.real_validation.dataset import LESION_FREE
from strokelabel.reports.real_validation.scores import RealScore, is_slice_with_lesion, is_slice_without
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


VOLUME_CLASSES_ML: Final = ((0.3, 1.0), (1.0, 3.0), (3.0, 10.0), (10.0, 30.0), (30.0, math.inf))
"""Lesion volumes that results are broken down by: low <= volume < high."""

Chosen = Callable[[CaseScore], bool]


def benchmark_table(scores: Sequence[CaseScore]) -> Table:
    """Return the median (and mean) Dice by contrast, slices and lesion volume, and false lesion in lesion-free heads.

    A missed lesion counts 0 in the Dice. False lesions are those found in lesion-free heads.

    Args:
        scores: of all volumes and contenders.
    """
    methods = list(dict.fromkeys(score.method for score in scores))
    rows = []
    for title, slices, chosen, text in _rows(scores):
        by_method = [[s for s in scores if s.method == method and chosen(s)] for method in methods]
        if by_method[0]:
            oracle = _median_and_mean([s.oracle for s in by_method[0]]) if text is dice_text else "–"
            cells = [title, slices, str(len(by_method[0])), oracle, *map(text, by_method)]
            rows.append(tuple(Cell(cell) for cell in cells))
    caption = (
        "Synthetic benchmark. Dice: median (mean); the oracle sees all that the scanner left of a lesion. "
        "Volume error and false lesion, ml: median (mean, largest)."
    )
    return Table(caption, ("Volumes", "Slices", "n", "oracle", *methods), tuple(rows))


def _rows(
    scores: Sequence[CaseScore],
) -> list[tuple[str, str, Chosen, Callable[[Sequence[CaseScore]], str]]]:
    """Return the title, slices, mask and text function of each row."""
    rows: list[tuple[str, str, Chosen, Callable[[Sequence[CaseScore]], str]]] = []
    spacings = sorted({s.slices for s in scores})
    for family in dict.fromkeys(s.case.family for s in scores):
        rows += [(family, slices, _with_lesion(family, slices), dice_text) for slices in ("all", *spacings)]
    rows += [("all", slices, _with_lesion(None, slices), dice_text) for slices in ("all", *spacings)]
    rows += [(_bin_name(low, high), "all", _in_bin(low, high), dice_text) for low, high in _bins(scores)]
    rows.append(("volume error, ml", "all", _with_lesion(), _error_text))
    rows.append(("false lesion, ml: lesion-free heads", "all", lambda s: s.case.lesion_free, false_text))
    return rows


def _bins(scores: Sequence[CaseScore]) -> list[tuple[float, float]]:
    """Return the volume classes, and one below them where a lesion is smaller."""
    least = VOLUME_CLASSES_ML[0][0]
    smaller = any(s.reference_ml < least and not s.case.lesion_free for s in scores)
    return [*([(0.0, least)] if smaller else []), *VOLUME_CLASSES_ML]


def _bin_name(low: float, high: float) -> str:
    return f"lesion {low:g} ml and more" if math.isinf(high) else f"lesion {low:g} to {high:g} ml"


def _with_lesion(family: str | None = None, slices: str | None = None) -> Chosen:
    def chosen(score: CaseScore) -> bool:
        fits = family in (None, score.case.family) and slices in (None, "all", score.slices)
        return fits and not score.case.lesion_free

    return chosen


def _in_bin(low: float, high: float) -> Chosen:
    return lambda score: not score.case.lesion_free and low <= score.reference_ml < high


def dice_text(scores: Sequence[CaseScore]) -> str:
    """Return the median and mean Dice."""
    return _median_and_mean([score.dice for score in scores])


def _median_and_mean(values: Sequence[float]) -> str:
    return f"{np.median(values):.3f} ({np.mean(values):.3f})"


def _error_text(scores: Sequence[CaseScore]) -> str:
    return _spread([abs(s.predicted_ml - s.reference_ml) for s in scores])


def false_text(scores: Sequence[CaseScore]) -> str:
    """Return the median, mean and largest volume found."""
    return _spread([score.predicted_ml for score in scores])


def _spread(values: Sequence[float]) -> str:
    return f"{np.median(values):.2f} ({np.mean(values):.2f}, {max(values):.2f})"


def score_table(synthetic: Sequence[CaseScore], real: Sequence[RealScore]) -> Table:
    """Return a row for each model and threshold: mean Dice of both sets, their mean, and false lesion.

    Thresholds are chosen by the mean of both, on the development sets; the best is bold.

    Args:
        synthetic: scores of the benchmark; may be empty.
        real: scores of the real set; may be empty.
    """
    reported = "validation" if any(s.group.part == "validation" for s in real) else "development"
    real = [s for s in real if not s.group.is_slices or s.group.part == reported]
    methods = list(dict.fromkeys([*(s.method for s in synthetic), *(s.method for s in real)]))
    numbers = [
        _numbers(
            [s for s in synthetic if s.method == method],
            [s for s in real if s.method == method],
        )
        for method in methods
    ]
    best = max((row[2] for row in numbers), default=float("nan"))
    rows = tuple(
        (
            Cell(method),
            *(Cell(_text(value, 3)) for value in row[:2]),
            Cell(_text(row[2], 3), bold=len(methods) > 1 and row[2] == best),
            *(Cell(_text(value, 2)) for value in row[3:]),
        )
        for method, row in zip(methods, numbers, strict=True)
    )
    heading = (
        "Method", "mean Dice, synthetic", "mean Dice, real slices", "mean of both", "false, synthetic heads (ml)",
        "false, real slices (cm²)", "false, real scans (ml)",
    )  # fmt: skip
    return Table("Mean of both sets, by method; false lesion as means.", heading, rows, text_columns=1)


def _numbers(synthetic: Sequence[CaseScore], real: Sequence[RealScore]) -> tuple[float, ...]:
    """Return the columns of a row; NaN where there are no such cases."""
    first = _mean([s.dice for s in synthetic if not s.case.lesion_free])
    second = _mean([s.dice for s in real if is_slice_with_lesion(s)])
    return (
        first,
        second,
        _mean([value for value in (first, second) if not np.isnan(value)]),
        _mean([s.predicted_ml for s in synthetic if s.case.lesion_free]),
        _mean([s.predicted for s in real if is_slice_without(s)]),
        _mean([s.predicted for s in real if s.group.kind == LESION_FREE]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _text(value: float, decimals: int) -> str:
    return "–" if np.isnan(value) else f"{value:.{decimals}f}"
