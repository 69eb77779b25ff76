"""Cases listed in a table, for data that no naming rule covers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

from strokelabel.errors import DataError, OptionError
from strokelabel.inference.naming import unique_stems
from strokelabel.io.tables import read_table
from strokelabel.reports.evaluation.cases import EvaluationCase, suffix_of

TABLE_METHOD: Final = "prediction"
"""Name of the method in a column `prediction`; `prediction_NAME` is method NAME."""

_COLUMNS: Final = ("image", "reference", "group", "name")


def read_pairs(path: Path) -> tuple[EvaluationCase, ...]:
    """Read a table of cases.

    Args:
        path: a table (`io.tables`) with a column `reference`, and any of `image`, `prediction`, `prediction_NAME` (one
            per method), `group` and `name`. Paths are relative to the table.

    Raises:
        OptionError: no such file, no such columns, an empty reference, or names that are not unique.
    """
    try:
        table = read_table(path)
    except DataError as error:
        raise OptionError(error.message, source=path) from error
    _check_columns(path, table.columns)
    if not table.rows:
        raise OptionError(f"{path}: expected a row for each case, found none")
    cases = [_case(path, number, row) for number, row in zip(table.lines, table.rows, strict=True)]
    return _with_names(path, cases)


def _check_columns(path: Path, columns: list[str]) -> None:
    unknown = [name for name in columns if name not in _COLUMNS and not _is_prediction(name)]
    if "reference" not in columns or unknown:
        raise OptionError(
            f"{path}: expected the columns image, reference, prediction (or prediction_NAME), group and "
            f"name, of which reference is needed, found {', '.join(columns) or 'none'}"
        )


def _is_prediction(column: str) -> bool:
    return column == TABLE_METHOD or column.startswith(f"{TABLE_METHOD}_")


def _case(path: Path, number: int, cells: dict[str, str]) -> EvaluationCase:
    if not cells["reference"]:
        raise OptionError(f"{path}: expected the path of a reference mask in line {number}, found none")
    image = path.parent / cells["image"] if cells.get("image") else None
    predictions = {
        key.removeprefix(f"{TABLE_METHOD}_"): path.parent / cell
        for key, cell in cells.items()
        if _is_prediction(key) and cell
    }
    reference = path.parent / cells["reference"]
    group = cells.get("group") or suffix_of(image or reference)
    return EvaluationCase(cells.get("name", ""), group, reference, image, predictions)


def _with_names(path: Path, cases: list[EvaluationCase]) -> tuple[EvaluationCase, ...]:
    """Return the cases with the names of their scans (or references) where the table gives none."""
    stems = unique_stems([case.image or case.reference for case in cases])
    names = [case.name or stem for case, stem in zip(cases, stems, strict=True)]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise OptionError(
            f"{path}: expected a name of its own for each case, found {repeated[0]} more than once"
        )
    return tuple(
        EvaluationCase(name, case.group, case.reference, case.image, case.predictions)
        for name, case in zip(names, cases, strict=True)
    )
