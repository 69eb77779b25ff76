"""Output files of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from strokelabel import __version__
from strokelabel.io import atomic_write_json, atomic_write_text
from strokelabel.metrics import MISSED_DISTANCE_MM
from strokelabel.metrics.case import SIDE, SPACING_MM, ComparedMasks
from strokelabel.reports.evaluation.cases import EvaluationCase
from strokelabel.reports.evaluation.methods import Method
from strokelabel.reports.evaluation.plots import (
    worst_false_results,
    worst_results,
    write_box_plots,
    write_worst,
)
from strokelabel.reports.evaluation.results import CaseResult
from strokelabel.reports.evaluation.run import compare
from strokelabel.reports.evaluation.summary import comparison_table as make_comparisons
from strokelabel.reports.evaluation.summary import false_lesion_table, score_table, summary_table
from strokelabel.reports.evaluation.tables import Table, comparison_table, main_table, metric_table

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
    tests = make_comparisons(scores)
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
