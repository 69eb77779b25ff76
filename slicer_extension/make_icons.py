"""Draw the icons: a head, a lesion, and the stroke of a pen. `python slicer_extension/make_icons.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Ellipse

HERE = Path(__file__).parent
SIZES = {HERE / "StrokeLabel.png": 128, HERE / "StrokeLabel" / "Resources" / "Icons" / "StrokeLabel.png": 64}

NIGHT, BRAIN, FOLD, LESION, PEN = "#16202b", "#d9e1e8", "#9fb0bf", "#e63c32", "#ffd34d"


def draw(path: Path, pixels: int) -> None:
    """Write one icon, square, with a transparent background outside the disc."""
    figure = plt.figure(figsize=(1, 1), dpi=pixels)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-1, 1), ylim=(-1, 1))
    axes.axis("off")
    axes.add_patch(Ellipse((0, 0), 1.96, 1.96, color=NIGHT))
    axes.add_patch(Ellipse((0, 0), 1.24, 1.52, color=BRAIN))
    axes.plot([0, 0], [-0.70, 0.70], color=FOLD, linewidth=pixels_to_points(4))
    for side in (-1, 1):
        for height in (-0.35, 0.02, 0.39):
            wave = np.linspace(0, 1, 40)
            x = side * (0.14 + 0.34 * wave)
            axes.plot(x, height + 0.07 * np.sin(7 * wave), color=FOLD, linewidth=pixels_to_points(3))
    axes.add_patch(Ellipse((0.28, 0.10), 0.50, 0.40, angle=25, color=LESION, zorder=3))
    turn = np.linspace(0.3, 2 * np.pi + 0.1, 80)
    axes.plot(
        0.28 + 0.37 * np.cos(turn),
        0.10 + 0.31 * np.sin(turn),
        color=PEN,
        linewidth=pixels_to_points(4.5),
        zorder=4,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, transparent=True, metadata={"Software": None})
    plt.close(figure)


def pixels_to_points(pixels_of_64: float) -> float:
    """Return the line width for a figure of one inch, given in pixels of a 64 pixel icon."""
    return pixels_of_64 / 64 * 72


if __name__ == "__main__":
    mpl.use("Agg")
    for place, size in SIZES.items():
        draw(place, size)
