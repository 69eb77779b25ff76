"""Overall score of a model: the mean of its scores on the synthetic benchmark and on real slices.

Of the real slices those of the validation set count, and those of the development set where only these were scored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from strokelabel.reports.evaluation.tables import Cell, Table
from strokelabel.reports.real_validation.material import LESION_FREE
from strokelabel.reports.real_validation.scores import RealScore, is_slice_with_lesion, is_slice_without
from strokelabel.reports.validation.run import CaseScore


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
