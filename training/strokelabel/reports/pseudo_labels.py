"""Contact sheets of pseudo-labels, for the review by a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from strokelabel.errors import ImageError
from strokelabel.fit.pseudo_labels.record import PseudoLabel, read_pseudo_labels
from strokelabel.geometry import CanonicalGrid
from strokelabel.io import read_image, read_label_image
from strokelabel.io.bids import image_stem
from strokelabel.reports.contact_sheet import Panel, make_panel, save_contact_sheet

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
