"""The table of a batch: a row per scan, on the disk after every scan."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, Protocol

from strokelabel.errors import OutputError
from strokelabel.io import atomic_write_text

TABLE_NAME = "predictions.csv"

Status = Literal["done", "kept", "failed"]


@dataclass(frozen=True)
class Row:
    """What became of one scan. What is unknown is None, and an empty cell in the file; it is never 0.

    Attributes:
        source: absolute path of the scan.
        mask: name of the lesion mask, in the table's folder.
        volume_ml: volume of the lesion in ml; 0 means that the scan was segmented and no lesion was found.
        lesion_count: number of 26-connected lesions.
        seconds: time taken, reading and writing included.
        status: "done"; "kept" when the results of an earlier run were there; "failed".
        reason: why it failed, or notes about the scan.
    """

    source: str
    mask: str | None = None
    volume_ml: float | None = None
    lesion_count: int | None = None
    seconds: float | None = None
    status: Status = "done"
    reason: str = ""

    def cells(self) -> dict[str, str]:
        """The row as text, volumes to 0.1 mm³ and times to 10 ms."""
        values = asdict(self)
        values["volume_ml"] = None if self.volume_ml is None else f"{self.volume_ml:.4f}"
        values["seconds"] = None if self.seconds is None else f"{self.seconds:.2f}"
        return {key: "" if value is None else str(value) for key, value in values.items()}


COLUMNS = [field.name for field in fields(Row)]


class TableRow(Protocol):
    """A row of a table of scans."""

    @property
    def source(self) -> str:
        """The scan."""
        ...

    def cells(self) -> dict[str, str]:
        """Text by column, `source` among them."""
        ...


class PredictionTable:
    """`predictions.csv` in a folder of results, written whole and anew after each scan.

    Rows of earlier runs are kept; a scan that is predicted again replaces its row.

    Args:
        folder: where the table is, or will be.
        name: of another table.
        columns: of another table, `source` among them.

    Raises:
        OutputError: there is a file of that name that is not such a table.
    """

    def __init__(self, folder: Path, name: str = TABLE_NAME, columns: Sequence[str] = COLUMNS) -> None:
        self.path = folder / name
        self._columns = list(columns)
        self._rows: dict[str, dict[str, str]] = {}
        if self.path.exists():
            self._rows = {row["source"]: row for row in _read(self.path, self._columns)}

    def add(self, row: TableRow) -> None:
        """Add or replace the row of a scan and write the table.

        Raises:
            OutputError: the table cannot be written.
        """
        self._rows.pop(row.source, None)
        self._rows[row.source] = row.cells()
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows.values())
        atomic_write_text(self.path, text.getvalue())


def _read(path: Path, columns: list[str]) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != columns:
            raise OutputError(
                f"{path}: expected a table with the columns {', '.join(columns)}, found "
                f"{', '.join(reader.fieldnames or ['nothing'])}; move it away, or choose another folder."
            )
        return list(reader)
