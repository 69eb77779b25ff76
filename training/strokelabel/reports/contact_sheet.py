"""Contact sheets: many volumes side by side, each at the slice that shows its lesion best, and pseudo-labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from strokelabel.errors import ImageError
from strokelabel.fit.pseudo_labels.record import PseudoLabel, read_pseudo_labels
from strokelabel.geometry import CanonicalGrid
from strokelabel.io import read_image, read_label_image
from strokelabel.io.atomic import atomic_path
from strokelabel.io.bids import image_stem

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


PER_SHEET = 24
_TITLE_WIDTH = 34
_SPACING_MM = 2.0
_COLORS = {True: "lime", False: "red"}
"""Outline of masks that are trained on, and of those that are not."""


def write_review_sheets(folder: Path) -> list[Path]:
    """Write `review-01.png`, ... with every pseudo-label at its fullest axial slice; green is trained on, red is not.

    The masks that no person judged come first, those with the least confidence in front. Scans in which nothing was
    found, or that are no longer there, are left out.

    Args:
        folder: written by `strokelabel pseudo-label`; receives the sheets.

    Raises:
        DataError: there are no pseudo-labels.
        OutputError: a sheet cannot be written.
    """
    labels = [label for label in read_pseudo_labels(folder) if label.measures.volume_ml > 0]
    labels.sort(key=lambda label: (label.status != "pseudo", label.measures.mean_confidence, label.mask))
    for old in folder.glob("review-*.png"):
        old.unlink()
    paths = []
    for first in range(0, len(labels), PER_SHEET):
        path = folder / f"review-{first // PER_SHEET + 1:02d}.png"
        if panels := list(_panels(labels[first : first + PER_SHEET], folder)):
            save_contact_sheet(panels, path)
            paths.append(path)
    return paths


def _panels(labels: list[PseudoLabel], folder: Path) -> Iterator[Panel]:
    for label in labels:
        try:
            yield _panel(label, folder)
        except ImageError:
            continue


def _panel(label: PseudoLabel, folder: Path) -> Panel:
    """Draw one mask on its scan; both axial, whatever the scan's orientation."""
    image, mask = read_image(label.source), read_label_image(folder / label.mask)
    grid = CanonicalGrid.for_image(image.grid.shape, image.affine, _SPACING_MM)
    color = _COLORS[label.trains()]
    name = image_stem(Path(label.source))
    name = name if len(name) <= _TITLE_WIDTH else f"{name[: _TITLE_WIDTH - 1]}…"
    measures = label.measures
    facts = f"{label.status}, {measures.volume_ml:.1f} ml, confidence {measures.mean_confidence:.2f}"
    drawn = grid.forward_labels((mask.data > 0).astype(np.uint8)) > 0
    return make_panel(grid.forward(image.data), {color: drawn}, f"{name}\n{facts}")
