"""Summary of the cases: scores per group and method, tests between methods, and false lesion in lesion-free scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Final

import numpy as np
import pandas as pd

from strokelabel.metrics.statistics import bonferroni, paired_test, summarize
from strokelabel.reports.evaluation.cases import ENSEMBLE
from strokelabel.reports.evaluation.results import CaseResult
from strokelabel.reports.evaluation.tables import COLUMNS, Cell, Table

_HEADING: Final = ("Modality", "Method", "n", "median (ml)", "mean (ml)", "largest (ml)", "none at all")


def false_volumes_ml(results: Sequence[CaseResult]) -> list[float]:
    """Return the lesion found in each scan without one, in ml; other scans are skipped."""
    return [r.metrics.prediction_ml for r in results if r.metrics and r.metrics.reference_ml == 0]


def false_lesion_table(results: Sequence[CaseResult]) -> Table | None:
    """Make the table of false lesion per group and method; None where every scan has a lesion.

    Args:
        results: of all cases and methods.
    """
    groups, methods = (list(dict.fromkeys(getattr(r, name) for r in results)) for name in ("group", "method"))
    rows = []
    for group in groups:
        for method in methods:
            own = [r for r in results if (r.group, r.method) == (group, method)]
            if volumes := false_volumes_ml(own):
                rows.append(tuple(Cell(text) for text in (group, method, *_cells(volumes))))
    if not rows:
        return None
    caption = "False lesion in scans without one, by the empty reference mask."
    return Table(caption, _HEADING, tuple(rows))


def _cells(volumes: Sequence[float]) -> tuple[str, ...]:
    numbers = (np.median(volumes), np.mean(volumes), max(volumes))
    none = sum(volume == 0 for volume in volumes)
    return (str(len(volumes)), *(f"{number:.2f}" for number in numbers), str(none))


ALL: Final = "all"
"""Group of all cases, where there is more than one group."""


def score_table(results: Sequence[CaseResult]) -> pd.DataFrame:
    """Return a row for each case and method that was scored: case, group, method, and the metrics.

    Groups and methods are in the order of the results. Where there are several groups, all rows come once more in
    the group "all", but for ensembles: they are of the same patients as their sequences.
    """
    groups, methods = (list(dict.fromkeys(getattr(r, name) for r in results)) for name in ("group", "method"))
    ordered = sorted(results, key=lambda r: (groups.index(r.group), methods.index(r.method)))
    rows = [
        {"case": r.case, "group": r.group, "method": r.method, **asdict(r.metrics)}
        for r in ordered
        if r.metrics is not None
    ]
    columns = ["case", "group", "method", *(column.key for column in COLUMNS), "reference_ml"]
    scores = pd.DataFrame(rows, columns=columns)
    scans = scores[scores["group"] != ENSEMBLE]
    if scans["group"].nunique() < 2:
        return scores
    return pd.concat([scores, scans.assign(group=ALL)], ignore_index=True)


def summary_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each group, method and metric: n, mean, median, sd, and the 95 % t interval of the mean.

    Args:
        scores: from `score_table`.
    """
    rows = [
        {"group": group, "method": method, "metric": column.key, **asdict(summarize(part[column.key]))}
        for (group, method), part in scores.groupby(["group", "method"], sort=False)
        for column in COLUMNS
    ]
    return pd.DataFrame(
        rows, columns=["group", "method", "metric", "n", "mean", "median", "sd", "low", "high"]
    )


def comparison_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each group, metric and pair of methods: paired tests over the cases that both scored.

    p values are given as they are and corrected by Bonferroni for the number of tests of that metric: all pairs of
    methods, in all groups.

    Args:
        scores: from `score_table`.
    """
    rows = [
        {"metric": column.key, "group": group, "first": first, "second": second}
        | asdict(paired_test(wide[first], wide[second]))
        for column in COLUMNS
        for group, wide in _wide(scores, column.key)
        for first, second in combinations(wide.columns, 2)
    ]
    names = ["n", "mean_difference", "median_difference", "wilcoxon_p", "t_p"]
    tests = pd.DataFrame(rows, columns=["metric", "group", "first", "second", *names])
    for name in ("wilcoxon_p", "t_p"):
        tests[f"{name}_bonferroni"] = tests.groupby("metric", sort=False)[name].transform(
            lambda values: bonferroni(values.tolist())
        )
    return tests


def _wide(scores: pd.DataFrame, metric: str) -> list[tuple[str, pd.DataFrame]]:
    """Return a metric's values per group with cases as rows and methods as columns, in their order."""
    methods = list(dict.fromkeys(scores["method"]))
    return [
        (str(group), part.pivot(index="case", columns="method", values=metric).reindex(columns=methods))
        for group, part in scores.groupby("group", sort=False)
    ]
