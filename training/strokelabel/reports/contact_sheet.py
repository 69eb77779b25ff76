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


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet.

    Attributes:
        image: (x, y, z) canonical RAS.
        outlines: masks (x, y, z) to outline, by matplotlib colour.
        title: short caption.
    """

    image: NDArray[np.float32]
    outlines: dict[str, NDArray[np.bool_]]
    title: str


def save_contact_sheet(panels: Sequence[Panel], path: Path, columns: int = _COLUMNS) -> None:
    """Draw axial slices as a radiologist sees them: front at the top, the patient's left on the right.

    Args:
        panels: what to show.
        path: PNG to write.
        columns: pictures per row.
    """
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(columns * _INCHES, rows * _INCHES * 1.25), facecolor="black", layout="tight")
    FigureCanvasAgg(figure)
    for index, panel in enumerate(panels):
        _draw(figure.add_subplot(rows, columns, index + 1), panel)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def _draw(axes: Axes, panel: Panel) -> None:
    """One axial slice with outlines."""
    level = best_slice(next(iter(panel.outlines.values()), None), panel.image.shape[2])
    picture = panel.image[::-1, :, level].T
    low, high = np.percentile(panel.image, [0.5, 99.5])
    axes.imshow(picture, cmap="gray", origin="lower", vmin=low, vmax=max(high, low + 1e-6))
    for color, mask in panel.outlines.items():
        if mask[:, :, level].any():
            axes.contour(mask[::-1, :, level].T, levels=[0.5], colors=color, linewidths=0.8)
    axes.set_title(panel.title, color="white", fontsize=8)
    axes.axis("off")


def best_slice(mask: NDArray[np.bool_] | None, depth: int) -> int:
    """The axial slice with most of a mask; a little above the middle if there is none."""
    if mask is None or not mask.any():
        return int(depth * 0.55)
    return int(mask.sum(axis=(0, 1)).argmax())
