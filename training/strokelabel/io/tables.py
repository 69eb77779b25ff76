"""Tables that people edit, as text editors and spreadsheet programs save them."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from strokelabel.errors import DataError

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = ("\t", ";", ",")
_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""First bytes of .xlsx and .ods, and of .xls."""


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        columns: names in the first line.
        rows: column -> cell, without blanks around it; "" where a line ends early.
        lines: number of the line that each row ends on, from 1.
    """

    columns: list[str]
    rows: list[dict[str, str]]
    lines: list[int]


def read_table(path: Path) -> Table:
    """Read a table in UTF-8 or UTF-16, with or without a byte order mark, separated by tabs, semicolons or commas.

    Lines without anything in them are skipped.

    Raises:
        DataError: it cannot be read, is in another encoding, is a spreadsheet program's own file, or has a line with
            more cells than columns.
    """
    try:
        text = _decoded(path.read_bytes(), path)
    except OSError as error:
        raise DataError(f"expected a table, which cannot be read ({error.strerror})", source=path) from error
    first = text.partition("\n")[0]
    separator = next((separator for separator in _SEPARATORS if separator in first), ",")
    columns, rows, lines = list[str](), list[dict[str, str]](), list[int]()
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not columns:
                columns = cells[: max(index for index, cell in enumerate(cells, start=1) if cell)]
                continue
            if any(cells[len(columns) :]):
                raise DataError(
                    f"expected {len(columns)} cells in line {reader.line_num}, found {len(cells)}; put text with "
                    "the separator in it between quotes",
                    source=path,
                )
            padded = cells + [""] * (len(columns) - len(cells))
            rows.append(dict(zip(columns, padded, strict=False)))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"expected a table, which cannot be read ({error})", source=path) from error
    return Table(columns, rows, lines)


def _decoded(content: bytes, path: Path) -> str:
    if content.startswith(_SPREADSHEETS):
        raise DataError(
            "expected a table as text, found the file of a spreadsheet program; save it as CSV UTF-8",
            source=path,
        )
    encoding = "utf-16" if content.startswith(_UTF16_MARKS) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            "expected a table in UTF-8 or UTF-16, found another encoding; save it as CSV UTF-8", source=path
        ) from error
    if "\0" in text:
        raise DataError("expected a table as text, found zero bytes in it; save it as CSV UTF-8", source=path)
    return text
