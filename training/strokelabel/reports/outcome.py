"""Report of an evaluation of outcome models: tables (CSV and Markdown), a picture, and each patient's predictions."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from strokelabel.io.atomic import atomic_path, atomic_write_text
from strokelabel.outcome.evaluation import CrossValidation, ScoreRow, Task
from strokelabel.outcome.patients import Outcome
from strokelabel.outcome.scores import Interval
from strokelabel.reports.evaluation.tables import Cell, Table

_TITLES: Final = {
    "r": "R by fold",
    "mae": "MAE",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "f1": "F1",
    "calibration_error": "ECE",
}
_COLOR, _OTHER = "#0072b2", "#999999"


def write_outcome_report(outcome: Outcome, ids: Sequence[str], tasks: Sequence[Task], folder: Path) -> str:
    """Write `<task>.csv`, `predictions-<task>.csv`, `summary.md` and `outcome.png`; return the tables as Markdown.

    Args:
        outcome: that was predicted.
        ids: of the patients.
        tasks: the regression first.
        folder: where to.

    Raises:
        OutputError: a file cannot be written.
    """
    for task in tasks:
        _write_csv(_score_frame(task.rows), folder / f"{task.name}.csv")
        _write_csv(_prediction_frame(task.run, ids), folder / f"predictions-{task.name}.csv")
    text = "\n\n".join(_table(task).markdown() for task in tasks)
    atomic_write_text(folder / "summary.md", f"# Prediction of {outcome.title}\n\n{text}\n\n{READING}\n")
    _write_picture(outcome, tasks, folder / "outcome.png")
    return text


READING: Final = (
    "R: over all patients, mean of the repeats, with a 95 % interval by resampling patients. All others: mean over "
    "the folds of all repeats with the corrected resampled t interval (Nadeau and Bengio 2003). p: corrected resampled "
    "t test against the first model, two-sided, not corrected for the number of models. For research; not for "
    "decisions about patients."
)


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    atomic_write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def _score_frame(rows: Sequence[ScoreRow]) -> pd.DataFrame:
    """Return a row per model and score."""
    found = []
    for row in rows:
        overall = {} if row.overall is None else {"r_overall": row.overall}
        for name, one in {**overall, **row.scores}.items():
            found.append({
                "model": row.model, "n": row.n, "runs": row.runs, "score": name,
                "value": one.value, "low": one.low, "high": one.high, "p": row.p.get(name, float("nan")),
            })  # fmt: skip
    return pd.DataFrame(found)


def _prediction_frame(run: CrossValidation, ids: Sequence[str]) -> pd.DataFrame:
    """Return the mean out-of-fold prediction of each patient by each model."""
    means = {name: np.nanmean(predicted, axis=0) for name, predicted in run.predicted.items()}
    return pd.DataFrame({"participant_id": list(ids), "true": run.true, **means})


def _table(task: Task) -> Table:
    scores = list(task.rows[0].scores)
    overall = task.rows[0].overall is not None
    heading = ("model", "n", "runs", *(["R"] if overall else []), *(_TITLES[name] for name in scores), "p")
    rows = []
    for row in task.rows:
        shown = [*([row.overall] if row.overall is not None else []), *row.scores.values()]
        cells = [row.model, str(row.n), str(row.runs), *(_text(one) for one in shown), _p(row.p[task.tested])]
        rows.append(tuple(Cell(text) for text in cells))
    return Table(task.caption, heading, tuple(rows), text_columns=1)


def _text(one: Interval) -> str:
    if isnan(one.value):
        return "–"
    limits = "" if isnan(one.low) else f" ({one.low:.3f} to {one.high:.3f})"
    return f"{one.value:.3f}{limits}"


def _p(value: float) -> str:
    if isnan(value) or value == 1:
        return "–"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _write_picture(outcome: Outcome, tasks: Sequence[Task], path: Path) -> None:
    """Draw predicted against true for the last rung and the best model, and the ladder of all models."""
    figure = Figure(figsize=(9.5, 4.4))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    _draw_patients(left, outcome, tasks[0])
    _draw_ladder(right, tasks[0].rows)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def _draw_patients(axes: Axes, outcome: Outcome, task: Task) -> None:
    best = max(task.rows, key=_overall_r)
    predicted, true = task.run.predicted[best.model].mean(axis=0), task.run.true
    axes.scatter(true, predicted, s=9, color=_COLOR, alpha=0.45, linewidths=0)
    limits = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    axes.plot(limits, limits, color=_OTHER, linewidth=1)
    axes.set_xlabel(f"true {outcome.title}")
    axes.set_ylabel(f"predicted {outcome.title}")
    axes.set_title(f"{best.model}: R = {_overall_r(best):.2f}, n = {best.n}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_ladder(axes: Axes, rows: Sequence[ScoreRow]) -> None:
    places = np.arange(len(rows))[::-1]
    for place, row in zip(places, rows, strict=True):
        if row.overall is not None:
            axes.plot([row.overall.low, row.overall.high], [place, place], color=_COLOR, linewidth=1.5)
            axes.plot(row.overall.value, place, "o", color=_COLOR, markersize=5)
    axes.set_yticks(places, [row.model for row in rows])
    axes.set_xlabel("R with 95 % interval")
    axes.set_title("models", fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _overall_r(row: ScoreRow) -> float:
    return -1.0 if row.overall is None or isnan(row.overall.value) else row.overall.value
