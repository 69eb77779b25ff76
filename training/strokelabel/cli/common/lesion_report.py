"""Options of `strokelabel predict` about the report of a lesion, and its lines."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokelabel.cli.common.options import report_scan
from strokelabel.errors import OptionError

if TYPE_CHECKING:
    from strokelabel.inference.segment.batch import LesionRow
    from strokelabel.inference.segment.structure_tables import MaskTable


class StageChoice(StrEnum):
    """Stage of strokes, as the user says."""

    UNKNOWN = "unknown"
    ACUTE = "acute"
    CHRONIC = "chronic"


Structures = Annotated[
    str | None,
    typer.Option(
        help="Tables of the structures that each lesion touches, by this model for parcellation: synthseg, or a file.",
    ),
]
OutcomeModelName = Annotated[
    str | None,
    typer.Option(
        "--outcome",
        help="Estimate an outcome of each stroke by this model: nihss (of acute strokes, see --stroke-stage), or a "
        "file of `strokelabel outcome fit`. For research.",
    ),
]
Stage = Annotated[
    StageChoice | None,
    typer.Option(
        "--stroke-stage", help="Stage of the strokes, for --outcome: no scan tells whether a stroke is acute."
    ),
]


@dataclass(frozen=True)
class OutcomeChoice:
    """Outcome to estimate.

    Attributes:
        model: name or file; None for none.
        stage: of the strokes; None where it was not said.

    Raises:
        OptionError: a stage without an outcome.
    """

    model: str | None
    stage: StageChoice | None

    def __post_init__(self) -> None:
        if self.model is None and self.stage is not None:
            raise OptionError("expected --outcome with --stroke-stage, got none; add --outcome nihss")

    def tables(self, folder: Path, ensemble: bool) -> tuple[MaskTable, ...]:
        """Return the table of estimates; none without a model.

        Raises:
            UnknownModelError, WeightsError, OptionError: the model cannot be used.
            OutputError: the folder's table is something else.
        """
        if self.model is None:
            return ()
        from strokelabel.outcome.estimate import OutcomeEstimator, StrokeStage
        from strokelabel.outcome.tables import OutcomeTable

        stage = StrokeStage((self.stage or StageChoice.UNKNOWN).value)
        return (OutcomeTable(OutcomeEstimator.from_model(self.model), stage, folder, ensemble),)


def report_lesion(row: LesionRow) -> None:
    """Report a scan: its lesion with all lines about it on stdout, or the reason of a failure on stderr."""
    lesions = "lesion" if row.lesion_count == 1 else "lesions"
    report_scan(
        row, "" if row.volume_ml is None else f"{row.volume_ml:.1f} ml in {row.lesion_count} {lesions}"
    )
    for line in row.details:
        typer.echo(f"    {line}")
