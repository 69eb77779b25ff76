"""Scores of an evaluation by case: a CSV file that is saved after every case."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_type_hints

from strokelabel.errors import DataError, OutputError
from strokelabel.io import atomic_write_text
from strokelabel.io.tables import read_table
from strokelabel.metrics.case import CaseMetrics

NAME: Final = "cases"

_METRICS: Final = [field.name for field in fields(CaseMetrics)]
_TEXTS: Final = (
    "case",
    "group",
    "method",
    "status",
    "reason",
    "image",
    "reference",
    "prediction",
    "fingerprint",
)
COLUMNS: Final = [*_TEXTS[:4], *_METRICS, "seconds", *_TEXTS[4:]]

Status = Literal["done", "failed"]


@dataclass(frozen=True)
class CaseResult:
    """Result of one case with one method.

    Attributes:
        case, group, method: which.
        status: "done" or "failed".
        metrics: None where it failed.
        seconds: time that prediction and metrics took.
        reason: why it failed, or notes about the masks.
        image, reference, prediction: paths; empty where there is none.
        fingerprint: of all that decides the scores; empty where it failed.
        kept: whether the scores are those of an earlier run; not in the file.
    """

    case: str
    group: str
    method: str
    status: Status
    metrics: CaseMetrics | None = None
    seconds: float | None = None
    reason: str = ""
    image: str = ""
    reference: str = ""
    prediction: str = ""
    fingerprint: str = ""
    kept: bool = False

    def cells(self) -> dict[str, str]:
        """Return the row of the file; unknown values are empty."""
        row: dict[str, Any] = {name: getattr(self, name) for name in _TEXTS}
        row["seconds"] = None if self.seconds is None else f"{self.seconds:.2f}"
        if self.metrics is not None:
            row |= {name: f"{value:.9g}" for name, value in asdict(self.metrics).items()}
        return {name: "" if row.get(name) is None else str(row[name]) for name in COLUMNS}


class ResultTable:
    """Results of a run and of those before it in one folder.

    Args:
        folder: holds `cases.csv`, and `cases-part-i-of-n.csv` for every part that was run by itself.
        part: (i, n), if this run is one of n parts, which then has a file of its own.

    Raises:
        OutputError: a file of that name is not such a table.
    """

    def __init__(self, folder: Path, part: tuple[int, int] | None = None) -> None:
        self.path = folder / file_name(part)
        self._rows: dict[tuple[str, str], CaseResult] = {}
        self._done: dict[tuple[str, str, str], CaseResult] = {}
        whole = folder / file_name(None)
        others = [whole] if part else sorted(folder.glob(f"{NAME}-part-*-of-*.csv"))
        for path in [*others, self.path]:
            rows = read_results(path) if path.exists() else []
            self._done |= {
                (row.case, row.method, row.fingerprint): row for row in rows if row.status == "done"
            }
            if path == self.path:
                self._rows = {(row.case, row.method): row for row in rows}

    def earlier(self, case: str, method: str, fingerprint: str) -> CaseResult | None:
        """Return the result of an earlier run, if it has the same fingerprint."""
        return self._done.get((case, method, fingerprint))

    def add(self, result: CaseResult) -> None:
        """Add or replace a result and write the file.

        Raises:
            OutputError: it cannot be written.
        """
        self._rows[result.case, result.method] = result
        if not result.kept:  # what is kept is in a file already
            self._write(self._rows.values())

    def finish(self, results: Sequence[CaseResult]) -> None:
        """Write the file with these results alone: what earlier runs had besides goes.

        Raises:
            OutputError: it cannot be written.
        """
        self._write(results)

    def _write(self, results: Iterable[CaseResult]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(result.cells() for result in results)
        atomic_write_text(self.path, text.getvalue())


def file_name(part: tuple[int, int] | None) -> str:
    """Return the name of the file of a whole run, or of a part (i, n) of it."""
    return f"{NAME}.csv" if part is None else f"{NAME}-part-{part[0]}-of-{part[1]}.csv"


def read_results(path: Path) -> list[CaseResult]:
    """Read a file of results.

    Raises:
        OutputError: it is not one.
    """
    try:
        table = read_table(path)
    except DataError as error:
        raise OutputError(f"{error.message}; or move it away.", source=path) from error
    if table.columns != COLUMNS:
        raise OutputError(
            f"{path}: expected a table of scores with the columns {', '.join(COLUMNS)}, found "
            f"{', '.join(table.columns) or 'nothing'}; move it away, or choose another folder."
        )
    try:
        return [_result(row) for row in table.rows]
    except (ValueError, TypeError) as error:
        raise OutputError(f"{path}: expected numbers as scores ({error}); remove the file.") from error


def _result(row: dict[str, str]) -> CaseResult:
    types = get_type_hints(CaseMetrics)
    metrics = None
    if row["status"] == "done":
        metrics = CaseMetrics(**{name: types[name](float(row[name])) for name in _METRICS})
    return CaseResult(
        case=row["case"],
        group=row["group"],
        method=row["method"],
        status="done" if metrics else "failed",
        metrics=metrics,
        seconds=float(row["seconds"]) if row["seconds"] else None,
        reason=row["reason"],
        image=row["image"],
        reference=row["reference"],
        prediction=row["prediction"],
        fingerprint=row["fingerprint"],
    )
