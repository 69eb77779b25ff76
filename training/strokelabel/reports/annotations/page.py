"""Annotation report as one self-contained HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from strokelabel.io.atomic import atomic_write_json, atomic_write_text
from strokelabel.reports.annotations.report import (
    AnnotationRow,
    annotation_rows,
    as_json,
    as_tsv,
    version_rows,
)
from strokelabel.types import PathLike

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: 13px; } img { max-width: 100%; }
th, td { padding: 0.25rem 0.6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child, td.text, th.text { text-align: left; } td.text { white-space: normal; }
"""

_COLUMNS = {
    "image": "scan",
    "annotators": "annotator",
    "submitted": "submitted (UTC)",
    "minutes": "minutes",
    "time_spent_s": "work (s)",
    "model_version": "model",
    "status": "status",
    "dice": "Dice",
    "before_ml": "before (ml)",
    "after_ml": "after (ml)",
    "added_ml": "added (ml)",
    "removed_ml": "removed (ml)",
    "note": "note",
}
_TEXT = ("image", "annotators", "submitted", "model_version", "status", "note")
_DECIMALS = {"minutes": 1, "time_spent_s": 0, "dice": 3}

_EXPLANATION = (
    "Dice compares the prediction that was kept with the label that was submitted (both empty: 1, one empty: 0). "
    "Minutes are from the moment the scan was offered to the submission, breaks included. A dash: not known."
)


def write_report(studies: PathLike, folder: PathLike) -> list[AnnotationRow]:
    """Write annotations.tsv, annotations.json and annotations.html.

    Args:
        studies: folder that a server serves or served.
        folder: where to; made when missing.

    Returns:
        A row for each submitted label.

    Raises:
        DataError: nothing was served from `studies`.
        OutputError: the files cannot be written.
    """
    rows = annotation_rows(studies)
    atomic_write_text(Path(folder) / "annotations.tsv", as_tsv(rows))
    atomic_write_json(Path(folder) / "annotations.json", as_json(rows))
    atomic_write_text(Path(folder) / "annotations.html", report_page(rows))
    return rows


def report_page(rows: Sequence[AnnotationRow]) -> str:
    """Return the whole page."""
    parts = ["<h1>Annotation report</h1>", f"<p>{escape(summary(rows))}</p>"]
    if any(row.dice is not None for row in rows):
        parts.append(f'<p><img alt="Dice, minutes and changed volume" src="{_picture(rows)}"></p>')
        parts += ["<h2>Model versions</h2>", _version_table(rows)]
    parts += ["<h2>Submitted labels</h2>", _row_table(rows), f"<p>{_EXPLANATION}</p>"]
    head = f'<meta charset="utf-8"><title>Annotation report</title><style>{_STYLE}</style>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{chr(10).join(parts)}</body></html>\n'
    )


def summary(rows: Sequence[AnnotationRow]) -> str:
    """Return a summary of one or two sentences."""
    if not rows:
        return "No label has been submitted yet."
    people = {row.annotators for row in rows if row.annotators}
    text = f"{_count(len(rows), 'submitted label')}, {_count(len(people), 'annotator')}."
    scores = [row.dice for row in rows if row.dice is not None]
    minutes = [row.minutes for row in rows if row.minutes is not None]
    if scores:
        text += f" Median Dice of the prediction with what was submitted: {median(scores):.3f} (n = {len(scores)})."
    if minutes:
        text += f" Median time from offer to submission: {median(minutes):.1f} minutes (n = {len(minutes)})."
    return text


def draw(rows: Sequence[AnnotationRow]) -> Figure:
    """Draw Dice by model version, minutes in the order of submission, and the added and removed volumes."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    scores, times, changes = figure.subplots(1, 3)
    _draw_versions(scores, rows)
    order = range(1, len(rows) + 1)
    times.plot(order, [row.minutes if row.minutes is not None else float("nan") for row in rows], "o-", ms=4)
    times.set(xlabel="submitted label", ylabel="minutes from offer to submission", ylim=(0, None))
    changes.bar(order, [row.added_ml or 0.0 for row in rows], color="tab:green", label="added")
    changes.bar(order, [-(row.removed_ml or 0.0) for row in rows], color="tab:red", label="removed")
    changes.axhline(0, color="gray", linewidth=0.8)
    changes.set(xlabel="submitted label", ylabel="ml changed by the annotator")
    changes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    for axes in (scores, times, changes):
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (times, changes):
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _draw_versions(axes: Axes, rows: Sequence[AnnotationRow]) -> None:
    versions = version_rows(rows)
    for place, version in enumerate(versions, start=1):
        own = [
            row.dice
            for row in rows
            if row.dice is not None and (row.model_version or "unknown") == version.model_version
        ]
        axes.plot([place] * len(own), own, "o", color="tab:gray", alpha=0.5, ms=4)
    medians = [version.median_dice for version in versions]
    axes.plot(range(1, len(versions) + 1), medians, "o-", color="tab:blue", label="median")
    axes.set_xticks(range(1, len(versions) + 1), [f"{v.model_version}\nn = {v.n}" for v in versions])
    axes.set(ylabel="Dice of prediction and submitted label", ylim=(-0.03, 1.03))
    axes.set_xlim(0.5, len(versions) + 0.5)
    axes.legend(frameon=False, loc="lower right")


def _picture(rows: Sequence[AnnotationRow]) -> str:
    content = io.BytesIO()
    draw(rows).savefig(content, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _version_table(rows: Sequence[AnnotationRow]) -> str:
    heading = ("model version", "labels", "median Dice", "median changed (ml)", "first submitted (UTC)")
    lines = ["".join(f"<th>{escape(text)}</th>" for text in heading)]
    for version in version_rows(rows):
        cells = (
            version.model_version,
            str(version.n),
            f"{version.median_dice:.3f}",
            f"{version.median_changed_ml:.2f}",
            _shown("submitted", version.first),
        )
        lines.append("".join(f"<td>{escape(text)}</td>" for text in cells))
    return _table(lines)


def _row_table(rows: Sequence[AnnotationRow]) -> str:
    kinds = {name: ' class="text"' if name in _TEXT else "" for name in _COLUMNS}
    lines = ["".join(f"<th{kinds[name]}>{escape(title)}</th>" for name, title in _COLUMNS.items())]
    for row in rows:
        cells = {name: _shown(name, getattr(row, name)) for name in _COLUMNS}
        lines.append("".join(f"<td{kinds[name]}>{escape(text)}</td>" for name, text in cells.items()))
    return _table(lines)


def _table(lines: list[str]) -> str:
    return "<table>" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _shown(name: str, value: object) -> str:
    if value is None or value == "":
        return "" if name == "note" else "–"
    if isinstance(value, float):
        return f"{value:.{_DECIMALS.get(name, 2)}f}"
    text = str(value)
    return text[:16].replace("T", " ") if name in ("submitted", "served") else text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
