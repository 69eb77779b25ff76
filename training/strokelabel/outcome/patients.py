"""Patients of an outcome table: the number to predict, the facts beside it, and the lesion mask in ICBM space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from strokelabel.errors import DataError, OptionError
from strokelabel.io.file_kinds import IMAGE_SUFFIXES
from strokelabel.io.tables import Table, read_table


@dataclass(frozen=True)
class Outcome:
    """A number that is predicted.

    Attributes:
        name: on the command line and in model files.
        column: of the tables.
        title: for tables and pictures.
        least, most: possible values; predictions and intervals keep to them.
        acute: whether patients are seen in the first days; tables of acute strokes have age and arterial regions.
        left_only: whether all patients that are published have their lesion on the left.
    """

    name: str
    column: str
    title: str
    least: float
    most: float
    acute: bool
    left_only: bool


OUTCOMES: Final = MappingProxyType({
    one.name: one
    for one in (
        Outcome("nihss", "nihss", "NIHSS", 0.0, 42.0, acute=True, left_only=False),
        Outcome("language", "score", "language score", -5.0, 5.0, acute=False, left_only=True),
    )
})  # fmt: skip
"""NIH Stroke Scale of acute strokes (SOOP), and the z-like language score of chronic left strokes (LESYMAP)."""

ARTERIAL_COLUMNS: Final = (
    "1_ACAL", "2_ACAR", "3_MLSL", "4_MLSR", "5_LLSL", "6_LLSR", "7_MCAFL", "8_MCAFR", "9_MCAPL", "10_MCAPL",
    "11_MCATL", "12_MCATL", "13_MCAOL", "14_MCAOL", "15_MCAIL", "16_MCAIL", "17_PCATL", "18_PCATR", "19_PCAOL",
    "20_PCAOR", "21_PCTPL", "22_PCTPR", "23_ACTPL", "24_ACTPR", "25_BL", "26_BR", "27_SCL", "28_SCR", "29_ICL",
    "30_ICR", "31_LVL",
)  # fmt: skip
"""Regions of the arterial atlas as SOOP's table calls them: odd numbers are left, even ones right, also where the
letters say otherwise (10, 12, 14, 16). The right lateral ventricle is not in the table.
"""

_TERRITORIES: Final = (
    "anterior cerebral", "medial lenticulostriate", "lateral lenticulostriate", "middle cerebral, frontal",
    "middle cerebral, parietal", "middle cerebral, temporal", "middle cerebral, occipital",
    "middle cerebral, insular", "posterior cerebral, temporal", "posterior cerebral, occipital",
    "posterior choroidal and thalamoperforating", "anterior choroidal and thalamoperforating", "basilar",
    "superior cerebellar", "inferior cerebellar", "lateral ventricle",
)  # fmt: skip

ARTERIAL_REGIONS: Final = tuple(
    f"{_TERRITORIES[index // 2]}, {'right' if index % 2 else 'left'}"
    for index in range(len(ARTERIAL_COLUMNS))
)
"""Names for users, in the order of `ARTERIAL_COLUMNS`."""

OLDEST_YEARS: Final = 120.0


@dataclass(frozen=True, eq=False)
class Patient:
    """A row of an outcome table, and its mask.

    Attributes:
        id: `sub-…`, unique in its table.
        value: the outcome.
        mask: file of the lesion mask, in ICBM space.
        ml: volume of the lesion that the table gives; None where it gives none.
        age: years; None where the table has no ages.
        arteries: (31,) fraction of each of `ARTERIAL_REGIONS` that is lesion; None where the table has none.
    """

    id: str
    value: float
    mask: Path
    ml: float | None = None
    age: float | None = None
    arteries: NDArray[np.float64] | None = None


def find_outcome(name: str) -> Outcome:
    """Return one of `OUTCOMES`.

    Raises:
        OptionError: no outcome of that name.
    """
    if name not in OUTCOMES:
        raise OptionError(f"expected one of the outcomes {', '.join(OUTCOMES)}, got {name!r}")
    return OUTCOMES[name]


def read_patients(table: Path, masks: Path, outcome: Outcome) -> tuple[Patient, ...]:
    """Read a table of outcomes and find each patient's lesion mask.

    Args:
        table: columns participant_id and the outcome's; for acute strokes also lesion_volume (mm³), age and
            `ARTERIAL_COLUMNS`. Further columns are ignored.
        masks: folder with `<participant_id>_lesion.nii.gz` (or another ending of an image).
        outcome: to read.

    Raises:
        DataError: a column is missing, a value is no number or impossible, a patient occurs twice or has no mask, or
            there are no patients.
    """
    found = read_table(table)
    _check_columns(found, table, outcome)
    patients = tuple(
        _patient(row, line, table, masks, outcome) for row, line in zip(found.rows, found.lines, strict=True)
    )
    if not patients:
        raise DataError("expected patients, found none below the names of the columns", source=table)
    _check_unique([patient.id for patient in patients], table)
    missing = [patient.id for patient in patients if not patient.mask.is_file()]
    if missing:
        named = ", ".join(missing[:5]) + (" …" if len(missing) > len(missing[:5]) else "")
        raise DataError(
            f"expected a mask <participant_id>_lesion.nii.gz of each patient, found none of {len(missing)} ({named}); "
            "add the masks or remove the rows",
            source=masks,
        )
    return patients


def table_columns(outcome: Outcome, *, value: bool = True) -> tuple[str, ...]:
    """Return the columns that a table must have; without the outcome's own where `value` is false."""
    own = (outcome.column,) if value else ()
    return ("participant_id", *own, *(("lesion_volume", "age", *ARTERIAL_COLUMNS) if outcome.acute else ()))


def number(text: str, column: str, least: float, most: float, place: str, source: Path) -> float:
    """Return a number from a cell.

    Args:
        text: of the cell.
        column: its name, for the message.
        least, most: possible values.
        place: the row, for the message.
        source: the table.

    Raises:
        DataError: no number, or an impossible one.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (isfinite(value) and least <= value <= most):
        raise DataError(
            f"expected {column} from {least:g} to {most:g}, found {text!r} in {place}; correct or remove the row",
            source=source,
        )
    return value


def _check_columns(found: Table, table: Path, outcome: Outcome) -> None:
    missing = [name for name in table_columns(outcome) if name not in found.columns]
    if missing:
        raise DataError(
            f"expected the columns {', '.join(missing)}, found {', '.join(found.columns) or 'none'}; "
            f"the outcome {outcome.name} needs them",
            source=table,
        )
    _check_unique(found.columns, table)


def _check_unique(names: Sequence[str], table: Path) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"expected each column and participant_id once, found {', '.join(twice[:5])} again; remove all but one",
            source=table,
        )


def _patient(row: dict[str, str], line: int, table: Path, masks: Path, outcome: Outcome) -> Patient:
    name, place = row["participant_id"], f"line {line}"
    if not name or Path(name).name != name:
        raise DataError(f"expected a participant_id such as sub-001, found {name!r} in {place}", source=table)

    def cell(column: str, least: float, most: float) -> float:
        return number(row[column], column, least, most, f"{place} ({name})", table)

    value = cell(outcome.column, outcome.least, outcome.most)
    if not outcome.acute:
        return Patient(name, value, mask_of(name, masks))
    arteries = np.array([cell(column, 0.0, 1.0) for column in ARTERIAL_COLUMNS])
    ml = cell("lesion_volume", 1.0, 2e6) / 1000
    return Patient(name, value, mask_of(name, masks), ml, cell("age", 0.0, OLDEST_YEARS), arteries)


def mask_of(name: str, masks: Path) -> Path:
    """Return the path of a patient's mask; the first of its possible names where there is none."""
    paths = [masks / f"{name}_lesion{suffix}" for suffix in IMAGE_SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])
