"""Arguments that the commands of `strokelabel outcome` share, and the patients that they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokelabel.cli.common.options import scan_progress

if TYPE_CHECKING:
    from strokelabel.outcome.patients import Outcome
    from strokelabel.outcome.predictors import Cohort

TableFile = Annotated[
    Path, typer.Argument(metavar="TABLE", help="Patients, their facts and outcomes (TSV or CSV).")
]
Masks = Annotated[Path, typer.Argument(metavar="MASKS", help="Folder of lesion masks in ICBM (MNI) space.")]
OutcomeName = Annotated[str, typer.Option("--outcome", help="nihss (acute strokes) or language (chronic).")]


@contextmanager
def progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar, and yield a function that takes the number of steps that are done."""
    with scan_progress() as bar:
        task = bar.add_task(name, total=total)
        yield lambda done: bar.update(task, completed=done)


def measured(table: Path, masks: Path, outcome: Outcome, prepared: Path | None = None) -> Cohort:
    """Return the patients of a table with the measures of their masks."""
    from strokelabel.outcome.loads import structure_map
    from strokelabel.outcome.patients import read_patients
    from strokelabel.outcome.predictors import measure
    from strokelabel.synthesis.prepared.dataset import PreparedData

    patients = read_patients(table, masks, outcome)
    structures = None if prepared is None else structure_map(PreparedData.load(prepared))
    with progress("masks", len(patients)) as advance:
        return measure(patients, structures, advance)
