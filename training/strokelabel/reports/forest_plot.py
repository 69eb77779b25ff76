"""Forest plots: a mean and its interval per row."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from strokelabel.io.atomic import atomic_path


class Interval(NamedTuple):
    """A mean and its confidence limits."""

    mean: float
    low: float
    high: float


def save_forest_plot(rows: dict[str, Interval], label: str, path: Path) -> None:
    """Draw one line per row, the first at the top, and a line at zero.

    Args:
        rows: name of each row: its interval.
        label: of the horizontal axis.
        path: the PNG file, written atomically.
    """
    figure = Figure(figsize=(7.0, 1.1 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    heights = range(len(rows), 0, -1)
    means = [row.mean for row in rows.values()]
    errors = [[r.mean - r.low for r in rows.values()], [r.high - r.mean for r in rows.values()]]
    axes.errorbar(means, list(heights), xerr=errors, fmt="o", color="black", capsize=3, markersize=4)
    axes.axvline(0, color="gray", linewidth=0.8)
    axes.set_yticks(list(heights), list(rows))
    axes.set_ylim(0.4, len(rows) + 0.6)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
