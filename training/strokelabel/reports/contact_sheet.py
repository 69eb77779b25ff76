"""A contact sheet: many volumes side by side, each at the slice that shows its lesion best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from strokelabel.io.atomic import atomic_path

_COLUMNS = 6
_INCHES = 2.2


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a sheet: a slice, so that sheets of many volumes fit in memory.

    Attributes:
        picture: axial slice (x, y), x to the patient's right and y to the front.
        window: values drawn black and white.
        outlines: masks (x, y) to outline, by matplotlib colour.
        title: short caption.
    """

    picture: NDArray[np.float32]
    window: tuple[float, float]
    outlines: dict[str, NDArray[np.bool_]]
    title: str


def make_panel(image: NDArray[np.float32], outlines: dict[str, NDArray[np.bool_]], title: str) -> Panel:
    """Make a picture of the axial slice that shows the first of a volume's masks best.

    Args:
        image: (x, y, z) canonical RAS.
        outlines: masks (x, y, z) to outline, by matplotlib colour.
        title: short caption.
    """
    level = best_slice(next(iter(outlines.values()), None), image.shape[2])
    low, high = (float(value) for value in np.percentile(image, [0.5, 99.5]))
    return Panel(
        picture=image[:, :, level].copy(),
        window=(low, max(high, low + 1e-6)),
        outlines={color: mask[:, :, level].copy() for color, mask in outlines.items()},
        title=title,
    )


def save_contact_sheet(panels: Sequence[Panel], path: Path, columns: int = _COLUMNS) -> None:
    """Draw axial slices as a radiologist sees them: front at the top, the patient's left on the right.

    Args:
        panels: what to show.
        path: PNG to write.
        columns: pictures per row.
    """
    rows = max(1, -(-len(panels) // columns))
    figure = Figure(figsize=(columns * _INCHES, rows * _INCHES * 1.25), facecolor="black", layout="tight")
    FigureCanvasAgg(figure)
    for index, panel in enumerate(panels):
        _draw(figure.add_subplot(rows, columns, index + 1), panel)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def _draw(axes: Axes, panel: Panel) -> None:
    """Draw one axial slice with outlines."""
    low, high = panel.window
    axes.imshow(panel.picture[::-1].T, cmap="gray", origin="lower", vmin=low, vmax=high)
    for color, mask in panel.outlines.items():
        if mask.any() and not mask.all():
            axes.contour(mask[::-1].T, levels=[0.5], colors=color, linewidths=0.8)
    axes.set_title(panel.title, color="white", fontsize=8)
    axes.axis("off")


def best_slice(mask: NDArray[np.bool_] | None, depth: int) -> int:
    """Return the axial slice with most of a mask; a little above the middle if there is none."""
    if mask is None or not mask.any():
        return int(depth * 0.55)
    return int(mask.sum(axis=(0, 1)).argmax())
