"""Plots of an evaluation: box plots of the scores, and forest plots of means with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from strokelabel.io import atomic_path
from strokelabel.reports.evaluation.tables import COLUMNS, Column

_COLORS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
"""Okabe and Ito's, which are distinguishable with colour blindness."""

_GROUP_WIDTH: Final = 0.8


def write_box_plots(scores: pd.DataFrame, folder: Path, columns: Sequence[Column] = COLUMNS) -> list[Path]:
    """Write `boxplot-METRIC.png` for every metric; return the paths.

    Boxes span the quartiles, the line is the median, the diamond the mean, whiskers reach 1.5 quartile ranges, and
    every case is a dot.

    Args:
        scores: from `summary.score_table`.
        folder: where to.
        columns: the metrics.

    Raises:
        OutputError: a file cannot be written.
    """
    paths = []
    for column in columns:
        groups, methods = (list(dict.fromkeys(scores[name])) for name in ("group", "method"))
        width = max(4.0, 1.2 + 0.55 * (len(methods) + 0.6) * len(groups))
        figure = Figure(figsize=(min(width, 24.0), 4.0))
        FigureCanvasAgg(figure)
        _draw(figure.add_subplot(), scores, column, groups, methods)
        paths.append(folder / f"boxplot-{column.key.replace('_', '-')}.png")
        with atomic_path(paths[-1]) as temporary:
            figure.savefig(temporary, dpi=120, format="png", bbox_inches="tight")
    return paths


def _draw(axes: Axes, scores: pd.DataFrame, column: Column, groups: list[str], methods: list[str]) -> None:
    """Draw all boxes of a metric."""
    step = _GROUP_WIDTH / len(methods)
    for index, method in enumerate(methods):
        color = _COLORS[index % len(_COLORS)]
        for place, group in enumerate(groups):
            chosen = scores[(scores["method"] == method) & (scores["group"] == group)]
            values = chosen[column.key].dropna().to_numpy() * column.factor
            if len(values):
                _box(axes, values, place + (index - (len(methods) - 1) / 2) * step, step * 0.8, color)
    counts = [scores[scores["group"] == group]["case"].nunique() for group in groups]
    labels = [f"{group}\nn = {count}" for group, count in zip(groups, counts, strict=True)]
    axes.set_xticks(range(len(groups)), labels)
    axes.set_ylabel(column.heading)
    axes.set_title(
        f"{column.title}: {'higher' if column.higher_is_better else 'lower'} is better", fontsize=10
    )
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(methods) > 1:
        patches = [Patch(color=_COLORS[i % len(_COLORS)], label=method) for i, method in enumerate(methods)]
        axes.legend(handles=patches, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _box(axes: Axes, values: np.ndarray, position: float, width: float, color: str) -> None:
    """Draw one box with its cases as dots, spread evenly so that the picture is the same every time."""
    axes.boxplot(
        values,
        positions=[position],
        widths=width,
        showmeans=True,
        showfliers=False,
        manage_ticks=False,
        patch_artist=True,
        boxprops={"facecolor": color, "alpha": 0.35, "edgecolor": color},
        medianprops={"color": color, "linewidth": 2},
        meanprops={"marker": "D", "markerfacecolor": "white", "markeredgecolor": color, "markersize": 4},
        whiskerprops={"color": color},
        capprops={"color": color},
    )
    spread = np.linspace(-0.3, 0.3, len(values)) * width if len(values) > 1 else np.zeros(1)
    order = np.random.default_rng(0).permutation(len(values))  # the same every time, and no line of dots
    axes.scatter(position + spread[order], values, s=8, color=color, alpha=0.7, linewidths=0, zorder=3)


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
