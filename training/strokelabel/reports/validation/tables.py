"""Scores of models on the synthetic benchmark as tables, and the one number that sums them up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from strokelabel.reports.evaluation.tables import Cell, Table
from strokelabel.reports.real_validation.material import LESION_FREE
from strokelabel.reports.real_validation.scores import RealScore, is_slice_with_lesion, is_slice_without
from strokelabel.reports.validation.run import CaseScore

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
