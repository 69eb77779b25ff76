"""Pictures of an evaluation: plots of the scores, and the worst cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.ndimage import map_coordinates

from strokelabel.errors import ImageError
from strokelabel.geometry import Grid
from strokelabel.io import Image, atomic_path, read_image
from strokelabel.metrics.case import SIDE, CaseMetrics, ComparedMasks
from strokelabel.reports.contact_sheet import Panel, best_slice, save_contact_sheet
from strokelabel.reports.evaluation.results import CaseResult
from strokelabel.reports.evaluation.slabs import slab_axis
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


REFERENCE_COLOR: Final = "lime"
PREDICTION_COLOR: Final = "red"

_MARGIN: Final = 6
_TITLE_WIDTH: Final = 30


def worst_results(results: Sequence[CaseResult], method: str, count: int = 5) -> list[CaseResult]:
    """Return the cases of a method with the lowest Dice; the larger lesion first where Dice is the same.

    Scans without a lesion are left out: `worst_false_results` has them.
    """
    scored = [(metrics, r) for metrics, r in _scored(results, method) if metrics.reference_ml > 0]
    scored.sort(key=lambda item: (item[0].dice, -item[0].reference_ml, item[1].case))
    return [result for _, result in scored[:count]]


def worst_false_results(results: Sequence[CaseResult], method: str, count: int = 5) -> list[CaseResult]:
    """Return the scans without a lesion in which a method found most; those in which it found none are left out."""
    scored = [
        (metrics, r)
        for metrics, r in _scored(results, method)
        if metrics.reference_ml == 0 and metrics.prediction_ml > 0
    ]
    scored.sort(key=lambda item: (-item[0].prediction_ml, item[1].case))
    return [result for _, result in scored[:count]]


def write_worst(cases: Sequence[tuple[CaseResult, ComparedMasks]], path: Path) -> None:
    """Write a sheet with two axial slices per case: most reference above, most error below.

    Args:
        cases: results with their masks.
        path: PNG to write.

    Raises:
        OutputError: it cannot be written.
    """
    panels = [_panels(result, masks) for result, masks in cases]
    if panels:
        save_contact_sheet([above for above, _ in panels] + [below for _, below in panels], path, len(panels))


def case_panel(result: CaseResult, masks: ComparedMasks, facts: str) -> Panel:
    """Draw the slice of a case with most of reference and prediction; `facts` stand below its name."""
    image = _read(result.image)
    axis = _shown_axis(image)
    level = _fullest(masks.reference | masks.prediction, axis)
    return _panel(image, masks, axis, level, f"{_short(result.case)}\n{facts}")


def _scored(results: Sequence[CaseResult], method: str) -> list[tuple[CaseMetrics, CaseResult]]:
    return [(r.metrics, r) for r in results if r.metrics is not None and r.method == method]


def _panels(result: CaseResult, masks: ComparedMasks) -> tuple[Panel, Panel]:
    """Return the two pictures of a case."""
    image = _read(result.image)
    axis = _shown_axis(image)
    levels = _fullest(masks.reference, axis), _fullest(masks.reference ^ masks.prediction, axis)
    metrics = result.metrics
    scores = f"Dice {metrics.dice:.2f}, HD95 {metrics.hd95_mm:.0f} mm" if metrics else ""
    volumes = f"{metrics.reference_ml:.1f} ml, predicted {metrics.prediction_ml:.1f} ml" if metrics else ""
    titles = f"{_short(result.case)}\n{scores}", f"{volumes}\nmost error"
    first, second = (
        _panel(image, masks, axis, level, title) for level, title in zip(levels, titles, strict=True)
    )
    return first, second


def _shown_axis(image: Image | None) -> int:
    """Return the axis of the common grid that the shown slice is perpendicular to."""
    axis = slab_axis(image.data) if image is not None else None
    if image is None or axis is None:
        return 2
    return int(nib.orientations.io_orientation(image.affine)[axis, 0])


def _fullest(mask: np.ndarray, axis: int) -> int:
    """Return the slice with most of a mask."""
    return best_slice(np.moveaxis(mask, axis, 2), SIDE)


def _read(path: str) -> Image | None:
    """Read the scan; None if there is none, so that the masks are on black."""
    try:
        return read_image(path) if path else None
    except ImageError:
        return None


def _panel(image: Image | None, masks: ComparedMasks, axis: int, level: int, title: str) -> Panel:
    """Return a slice of the common grid, cut to the head."""
    reference, prediction = (np.take(mask, level, axis) for mask in (masks.reference, masks.prediction))
    picture = np.zeros(reference.shape, np.float32)
    if image is not None:
        picture = grid_slice(image, masks.grid, level, axis)
    low, high = (float(value) for value in np.percentile(picture, [0.5, 99.5]))
    shown = (picture > low + 0.1 * (high - low)) | reference | prediction
    x, y = (_span(shown.any(axis=other)) for other in (1, 0))
    return Panel(
        picture=picture[x, y],
        window=(low, max(high, low + 1e-6)),
        outlines={REFERENCE_COLOR: reference[x, y], PREDICTION_COLOR: prediction[x, y]},
        title=title,
    )


def grid_slice(image: Image, grid: Grid, level: int, axis: int = 2) -> np.ndarray:
    """Return a scan's values in one plane of a grid, linearly interpolated; zero outside the scan.

    Args:
        image: the scan.
        grid: axes x, y, z.
        level: of the plane.
        axis: perpendicular to the plane; 2 for an axial one, (x, y).
    """
    sizes = [1 if other == axis else size for other, size in enumerate(grid.shape)]
    indices = np.stack(np.meshgrid(*(np.arange(size) for size in sizes), indexing="ij"), axis=-1)
    indices[..., axis] = level
    points = np.take(image.grid.to_voxel(grid.to_world(indices)), 0, axis)
    values = map_coordinates(image.data, np.moveaxis(points, -1, 0), order=1, mode="grid-constant")
    return np.asarray(values, dtype=np.float32)


def _span(shown: np.ndarray) -> slice:
    found = np.flatnonzero(shown)
    if len(found) == 0:
        return slice(None)
    return slice(max(int(found[0]) - _MARGIN, 0), int(found[-1]) + 1 + _MARGIN)


def _short(name: str) -> str:
    """Shorten a name in its middle to fit above a picture."""
    if len(name) <= _TITLE_WIDTH:
        return name
    half = _TITLE_WIDTH // 2
    return f"{name[:half]}…{name[-half + 1 :]}"
