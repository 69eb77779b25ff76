"""Scores of models on the real validation set, as rows and as contact sheets of the worst cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from strokelabel.reports.contact_sheet import save_contact_sheet
from strokelabel.reports.evaluation.cases import EvaluationCase
from strokelabel.reports.evaluation.methods import Method
from strokelabel.reports.evaluation.plots import case_panel, worst_false_results, worst_results
from strokelabel.reports.evaluation.results import CaseResult, compare
from strokelabel.reports.evaluation.slabs import SLAB_MM
from strokelabel.reports.evaluation.tables import Cell, Table
from strokelabel.reports.real_validation.dataset import LESION_FREE, Part, RealGroup

MOST = 24
"""Pictures on a sheet."""


def write_real_pictures(
    results: Sequence[CaseResult], cases: Sequence[EvaluationCase], methods: Sequence[Method], folder: Path
) -> None:
    """Write `{slices,scans}-{worst,false}-METHOD.png`: reference green, prediction red.

    Args:
        results: of all cases and methods.
        cases: all that were to be scored.
        methods: all that were scored.
        folder: where to.

    Raises:
        OutputError: a file cannot be written.
    """
    by_name = {case.name: case for case in cases}
    for kind, is_slices in (("slices", True), ("scans", False)):
        own = [r for r in results if RealGroup.parse(r.group).is_slices == is_slices]
        for method in methods:
            for name, found in (("worst", worst_results), ("false", worst_false_results)):
                chosen = found(own, method.name, MOST)
                _write_sheet(chosen, by_name, method, folder / f"{kind}-{name}-{method.name}.png")


def _write_sheet(
    chosen: Sequence[CaseResult], cases: Mapping[str, EvaluationCase], method: Method, path: Path
) -> None:
    panels = [
        case_panel(result, compare(cases[result.case], method, Path(result.prediction)), _facts(result))
        for result in chosen
    ]
    if panels:
        save_contact_sheet(panels, path)


def _facts(result: CaseResult) -> str:
    """Return the Dice, and the size found: an area in slices, a volume in scans."""
    (score,) = real_scores([result])
    unit = "cm²" if score.group.is_slices else "ml"
    found = f"{score.predicted:.1f} {unit}"
    return f"Dice {score.dice:.2f}, {found} of {score.reference:.1f}" if score.reference else f"false {found}"


LEAST_CM2: Final = 0.5
"""Slices with less lesion than this are left out: a pixel's width would decide their Dice."""

LARGE_CM2: Final = 5.0
_CM2_PER_ML: Final = 10 / SLAB_MM


@dataclass(frozen=True)
class RealScore:
    """Score of a model on one slice or scan.

    Attributes:
        case: its name.
        method: of the model with its options.
        group: what it is.
        dice: 2-D of a slice, 3-D of a scan.
        reference: area in cm² of a slice's lesion, volume in ml of a scan's.
        predicted: likewise.
    """

    case: str
    method: str
    group: RealGroup
    dice: float
    reference: float
    predicted: float


def real_scores(results: Iterable[CaseResult]) -> list[RealScore]:
    """Return the scores of the cases that could be scored.

    A slab's mask is the same in all its slices, so that its Dice is the slice's, and its volume the area times the
    thickness.
    """
    return [_score(result) for result in results if result.metrics is not None]


def _score(result: CaseResult) -> RealScore:
    metrics, group = result.metrics, RealGroup.parse(result.group)
    assert metrics is not None, "only scored cases"
    factor = _CM2_PER_ML if group.is_slices else 1.0
    return RealScore(
        result.case,
        result.method,
        group,
        metrics.dice,
        factor * metrics.reference_ml,
        factor * metrics.prediction_ml,
    )


def is_slice_with_lesion(score: RealScore) -> bool:
    """Return whether it counts among the slices with lesion."""
    return score.group.is_slices and score.reference >= LEAST_CM2


def is_slice_without(score: RealScore) -> bool:
    """Return whether it is a slice without any lesion."""
    return score.group.is_slices and score.reference == 0


def card_table(scores: Sequence[RealScore]) -> Table:
    """Return the table of a model card: rows of cases, a column for each method."""
    methods = list(dict.fromkeys(score.method for score in scores))
    rows = []
    for row in _rows(scores):
        own = [[s for s in scores if s.method == method and row.chosen(s)] for method in methods]
        cells = [row.text(part) if part else "–" for part in own]
        numbers = str(max((len(part) for part in own), default=0))
        rows.append(tuple(Cell(text) for text in (row.title, row.part, numbers, row.measure, *cells)))
    caption = "Real scans. Slices are scored in 2-D, as slabs straight through the network; scans in 3-D."
    return Table(caption, ("Scans", "Set", "n", "Measure", *methods), tuple(rows), text_columns=2)


@dataclass(frozen=True)
class _Row:
    """A row of the table: which scores, and what of them."""

    title: str
    part: Part
    measure: str
    chosen: Callable[[RealScore], bool]
    text: Callable[[Sequence[RealScore]], str]


def _rows(scores: Sequence[RealScore]) -> list[_Row]:
    groups = list(dict.fromkeys(score.group for score in scores))
    parts = list(dict.fromkeys(group.part for group in groups))
    rows: list[_Row] = []
    for part in parts:
        own = [group for group in groups if group.part == part]
        rows += _slice_rows(part, [group for group in own if group.is_slices])
        cases = dict.fromkeys((s.group, s.case) for s in scores if s.group in own and not s.group.is_slices)
        rows += [_scan_row(*case) for case in cases]
    return rows


def _slice_rows(part: Part, groups: list[RealGroup]) -> list[_Row]:
    """Return the slices with lesion, with much of it, and without."""
    if not groups:
        return []
    title = " and ".join(group.kind.removesuffix(" slices") for group in groups) + " FLAIR slices"

    def large(score: RealScore) -> bool:
        return score.group in groups and score.group.is_slices and score.reference >= LARGE_CM2

    def enough(score: RealScore) -> bool:
        return score.group in groups and is_slice_with_lesion(score)

    def without(score: RealScore) -> bool:
        return score.group in groups and is_slice_without(score)

    dice, area = "Dice: median (mean)", "false area, cm²: median (mean)"
    return [
        _Row(f"{title}, lesion {LEAST_CM2:g} cm² and more", part, dice, enough, _dice),
        _Row(f"{title}, lesion {LARGE_CM2:g} cm² and more", part, dice, large, _dice),
        _Row(f"{title}, no lesion", part, area, without, _area),
    ]


def _scan_row(group: RealGroup, case: str) -> _Row:
    def chosen(score: RealScore) -> bool:
        return (score.group, score.case) == (group, case)

    if group.kind == LESION_FREE:
        return _Row(case, group.part, "false lesion, ml", chosen, lambda own: f"{own[0].predicted:.2f}")
    return _Row(f"{case} ({group.kind})", group.part, "Dice", chosen, lambda own: f"{own[0].dice:.3f}")


def _dice(scores: Sequence[RealScore]) -> str:
    values = [score.dice for score in scores]
    return f"{np.median(values):.3f} ({np.mean(values):.3f})"


def _area(scores: Sequence[RealScore]) -> str:
    values = [score.predicted for score in scores]
    return f"{np.median(values):.2f} ({np.mean(values):.2f})"
