"""Report of an evaluation: scores per group and method, tests between methods, false lesion, and the files of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from strokelabel import __version__
from strokelabel.io import atomic_write_json, atomic_write_text
from strokelabel.metrics import MISSED_DISTANCE_MM
from strokelabel.metrics.case import SIDE, SPACING_MM, ComparedMasks
from strokelabel.metrics.statistics import bonferroni, paired_test, summarize
from strokelabel.reports.evaluation.cases import ENSEMBLE, EvaluationCase
from strokelabel.reports.evaluation.methods import Method
from strokelabel.reports.evaluation.plots import (
    worst_false_results,
    worst_results,
    write_box_plots,
    write_worst,
)
from strokelabel.reports.evaluation.results import CaseResult, compare
from strokelabel.reports.evaluation.tables import (
    COLUMNS,
    Cell,
    Table,
    comparison_table,
    main_table,
    metric_table,
)

NOTE: Final = (
    f"Masks are compared at {SPACING_MM:g} mm in {SIDE}³ voxels. HD95 is {MISSED_DISTANCE_MM:g} mm where one mask is "
    "empty and 0 where both are; Dice and LF1 are then 0 and 1. TPR is not defined without a lesion, and such cases "
    "do not count for it."
)


def write_report(
    results: Sequence[CaseResult], cases: Sequence[EvaluationCase], methods: Sequence[Method], folder: Path
) -> str:
    """Write tables (Markdown, CSV, LaTeX), box plots and pictures of the worst cases.

    Args:
        results: of all cases and methods.
        cases: all that were to be scored.
        methods: all that were scored.
        folder: receives `summary.md`, `summary.tex`, `summary.csv`, `tests.csv`, `boxplot-METRIC.png`,
            `worst-METHOD.png`, `false-METHOD.png` (scans without a lesion, where most was found) and
            `evaluation.json`.

    Returns:
        The main table as Markdown, and that of false lesions where scans have none.

    Raises:
        OutputError: a file cannot be written.
    """
    scores = score_table(results)
    summary = summary_table(scores)
    tests = paired_tests(scores)
    tables = [main_table(summary), metric_table(summary, "mean"), metric_table(summary, "median")]
    if len(methods) > 1:
        tables.append(comparison_table(tests))
    false_lesions = false_lesion_table(results)
    tables += [false_lesions] if false_lesions else []
    _write_tables(tables, results, folder)
    _write_csv(summary, folder / "summary.csv")
    _write_csv(tests, folder / "tests.csv")
    atomic_write_json(folder / "evaluation.json", _about(results, cases, methods))
    if len(scores):
        write_box_plots(scores, folder)
        _write_pictures(results, cases, methods, folder)
    shown = [tables[0], *([false_lesions] if false_lesions else [])]
    return "\n\n".join(table.markdown() for table in shown)


def _write_tables(tables: Sequence[Table], results: Sequence[CaseResult], folder: Path) -> None:
    parts = ["# Evaluation", _counts(results), *(table.markdown() for table in tables), NOTE]
    atomic_write_text(folder / "summary.md", "\n\n".join(parts) + "\n")
    latex = "\n\n".join(["% needs \\usepackage{booktabs}", *(table.latex() for table in tables)])
    atomic_write_text(folder / "summary.tex", latex + "\n")


def _counts(results: Sequence[CaseResult]) -> str:
    """Return the numbers of cases and methods, and the failures."""
    failed = [result for result in results if result.status == "failed"]
    cases, methods = ({getattr(result, name) for result in results} for name in ("case", "method"))
    lines = [f"{_plural(len(cases), 'case')}, {_plural(len(methods), 'method')}, {len(failed)} failed."]
    if failed:
        lines += ["", *(f"- {result.case}, {result.method}: {result.reason}" for result in failed)]
    return "\n".join(lines)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    atomic_write_text(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def _about(
    results: Sequence[CaseResult], cases: Sequence[EvaluationCase], methods: Sequence[Method]
) -> dict[str, object]:
    """Return versions and options, to reproduce the numbers."""
    return {
        "strokelabel_version": __version__,
        "cases": len(cases),
        "failed": sum(result.status == "failed" for result in results),
        "spacing_mm": SPACING_MM,
        "side_voxels": SIDE,
        "hd95_of_one_empty_mask_mm": MISSED_DISTANCE_MM,
        "methods": {method.name: method.description() for method in methods},
    }


def _write_pictures(
    results: Sequence[CaseResult], cases: Sequence[EvaluationCase], methods: Sequence[Method], folder: Path
) -> None:
    by_name = {case.name: case for case in cases}
    for method in methods:
        for name, found in (("worst", worst_results), ("false", worst_false_results)):
            shown: list[tuple[CaseResult, ComparedMasks]] = [
                (result, compare(by_name[result.case], method, Path(result.prediction)))
                for result in found(results, method.name)
            ]
            write_worst(shown, folder / f"{name}-{method.name}.png")


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


def paired_tests(scores: pd.DataFrame) -> pd.DataFrame:
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
