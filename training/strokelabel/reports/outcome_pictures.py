"""Pictures for people about outcome models: what networks see, and maps on sections of the ICBM template."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from strokelabel.io.atomic import atomic_path
from strokelabel.outcome.networks.pictures import Pictures
from strokelabel.outcome.predictors import Cohort

_TITLES: Final = {
    "stitched": "64 axial sections, stitched",
    "symbols": "regions of interest, with symbols\n(pentagon: volume, pie: age)",
    "flair": "FLAIR: an axial, a coronal and a sagittal slice",
}


def write_network_pictures(pictures: Pictures, cohort: Cohort, path: Path) -> None:
    """Draw what networks see of the patient whose lesion is of median size.

    Raises:
        OutputError: the file cannot be written.
    """
    index = int(np.argsort([one.ml for one in cohort.loads])[len(cohort.loads) // 2])
    kinds = [kind for kind in _TITLES if kind in pictures.kinds]
    figure = Figure(figsize=(9, 5.6), facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(max(1, len(kinds) - 1), 2, width_ratios=(0.85, 1), hspace=0.3, wspace=0.06)
    for place, kind in enumerate(kinds):
        axes = figure.add_subplot(grid[:, 0] if not place else grid[place - 1, 1])
        axes.imshow(pictures.kinds[kind][index], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(_TITLES[kind], fontsize=9)
        axes.axis("off")
    patient, ml = cohort.patients[index], cohort.loads[index].ml
    age = "" if patient.age is None else f", {patient.age:.0f} years"
    figure.suptitle(
        f"{patient.id}: {ml:.1f} ml{age}; lesion white on the ICBM template, left is left", fontsize=10
    )
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png", bbox_inches="tight")
