"""Contact sheets of the real validation set: where a model is worst, and what it finds where nothing is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from strokelabel.reports.contact_sheet import save_contact_sheet
from strokelabel.reports.evaluation.cases import EvaluationCase
from strokelabel.reports.evaluation.methods import Method
from strokelabel.reports.evaluation.results import CaseResult
from strokelabel.reports.evaluation.run import compare
from strokelabel.reports.evaluation.worst import case_panel, worst_false_results, worst_results
from strokelabel.reports.real_validation.material import RealGroup
from strokelabel.reports.real_validation.scores import real_scores

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
