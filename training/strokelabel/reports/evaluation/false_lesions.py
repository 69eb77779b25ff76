"""Scans without a lesion: whatever is found in them is false, and its volume says more than a Dice of 0 or 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from strokelabel.reports.evaluation.results import CaseResult
from strokelabel.reports.evaluation.tables import Cell, Table

_HEADING: Final = ("Modality", "Method", "n", "median (ml)", "mean (ml)", "largest (ml)", "none at all")


def false_volumes_ml(results: Sequence[CaseResult]) -> list[float]:
    """Lesion found in each scan without one, in ml; others are passed over."""
    return [r.metrics.prediction_ml for r in results if r.metrics and r.metrics.reference_ml == 0]


def false_lesion_table(results: Sequence[CaseResult]) -> Table | None:
    """False lesion per group and method; None where every scan has a lesion.

    Args:
        results: of all cases and methods.
    """
    groups, methods = (list(dict.fromkeys(getattr(r, name) for r in results)) for name in ("group", "method"))
    rows = []
    for group in groups:
        for method in methods:
            own = [r for r in results if (r.group, r.method) == (group, method)]
            if volumes := false_volumes_ml(own):
                rows.append(tuple(Cell(text) for text in (group, method, *_cells(volumes))))
    if not rows:
        return None
    caption = "False lesion in scans without one, by the empty reference mask."
    return Table(caption, _HEADING, tuple(rows))


def _cells(volumes: Sequence[float]) -> tuple[str, ...]:
    numbers = (np.median(volumes), np.mean(volumes), max(volumes))
    none = sum(volume == 0 for volume in volumes)
    return (str(len(volumes)), *(f"{number:.2f}" for number in numbers), str(none))
