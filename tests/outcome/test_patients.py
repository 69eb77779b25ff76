"""Outcome tables are read strictly: every impossible row is refused, with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from strokelabel.errors import DataError, LabelMapError, OptionError
from strokelabel.outcome.patients import (
    ARTERIAL_COLUMNS,
    ARTERIAL_REGIONS,
    OUTCOMES,
    find_outcome,
    read_patients,
)
from strokelabel.outcome.predictors import measure
from support.outcome_patients import write_cohort, write_mask

NIHSS, LANGUAGE = OUTCOMES["nihss"], OUTCOMES["language"]


@pytest.fixture
def acute_files(tmp_path: Path) -> tuple[Path, Path]:
    return write_cohort(tmp_path, 4, NIHSS)


def edited(table: Path, change: Callable[[list[list[str]]], None]) -> Path:
    cells = [line.split("\t") for line in table.read_text().splitlines()]
    change(cells)
    table.write_text("\n".join("\t".join(row) for row in cells) + "\n")
    return table


def test_patients_have_their_facts_and_masks(acute_files: tuple[Path, Path]) -> None:
    table, masks = acute_files

    patients = read_patients(table, masks, NIHSS)
    cohort = measure(patients)

    assert cohort.ids == ("sub-0000", "sub-0001", "sub-0002", "sub-0003")
    assert cohort.ages is not None
    assert cohort.ages.tolist() == [40, 41, 42, 43]
    assert cohort.arteries is not None
    assert cohort.arteries.shape == (4, 31)
    assert [one.ml for one in cohort.loads] == pytest.approx([one.ml for one in patients])


def test_a_table_of_chronic_strokes_needs_only_ids_and_scores(tmp_path: Path) -> None:
    table, masks = write_cohort(tmp_path, 3, LANGUAGE)

    cohort = measure(read_patients(table, masks, LANGUAGE))

    assert cohort.ages is None
    assert cohort.arteries is None
    assert not cohort.predictors().has(["age"])


def test_odd_regions_are_left_and_even_ones_right_whatever_the_letters_say() -> None:
    sides = dict(zip(ARTERIAL_COLUMNS, ARTERIAL_REGIONS, strict=True))

    assert sides["9_MCAPL"] == "middle cerebral, parietal, left"
    assert sides["10_MCAPL"] == "middle cerebral, parietal, right"
    assert len(set(ARTERIAL_REGIONS)) == 31


@pytest.mark.parametrize(
    ("row", "column", "cell", "message"),
    [
        (1, "nihss", "43", "expected nihss from 0 to 42, found '43' in line 2 (sub-0000)"),
        (2, "nihss", "n/a", "expected nihss from 0 to 42, found 'n/a' in line 3"),
        (1, "nihss", "nan", "found 'nan'"),
        (1, "age", "130", "expected age from 0 to 120"),
        (1, "lesion_volume", "0", "expected lesion_volume from 1"),
        (3, "5_LLSL", "1.2", "expected 5_LLSL from 0 to 1, found '1.2' in line 4 (sub-0002)"),
        (
            2,
            "participant_id",
            "sub-0000",
            "expected each column and participant_id once, found sub-0000 again",
        ),
        (2, "participant_id", "../sub-0001", "expected a participant_id such as sub-001"),
        (0, "age", "years", "expected the columns age"),
        (0, "1_ACAL", "age", "expected the columns 1_ACAL"),
    ],
)
def test_an_impossible_row_is_refused_with_its_place(
    acute_files: tuple[Path, Path], row: int, column: str, cell: str, message: str
) -> None:
    table, masks = acute_files

    def change(cells: list[list[str]]) -> None:
        cells[row][cells[0].index(column)] = cell

    with pytest.raises(DataError) as error:
        read_patients(edited(table, change), masks, NIHSS)
    assert message in str(error.value)
    assert str(error.value).startswith(str(table))


def test_a_patient_without_mask_is_named(acute_files: tuple[Path, Path]) -> None:
    table, masks = acute_files
    (masks / "sub-0002_lesion.nii.gz").unlink()

    with pytest.raises(DataError, match=r"found none of 1 \(sub-0002\)"):
        read_patients(table, masks, NIHSS)


def test_a_table_without_rows_is_refused(acute_files: tuple[Path, Path]) -> None:
    table, masks = acute_files

    with pytest.raises(DataError, match="expected patients, found none"):
        read_patients(edited(table, lambda cells: cells.__delitem__(slice(1, None))), masks, NIHSS)


def test_a_mask_of_another_patient_is_noticed_by_its_volume(acute_files: tuple[Path, Path]) -> None:
    table, masks = acute_files
    write_mask(masks / "sub-0001_lesion.nii.gz", (80, 100, 80), np.ones((3, 4, 5), dtype=bool))

    with pytest.raises(DataError, match=r"as the table says, found 0\.06 ml") as error:
        measure(read_patients(table, masks, NIHSS))
    assert error.value.source.endswith("sub-0001_lesion.nii.gz")


def test_a_mask_outside_icbm_space_is_refused(acute_files: tuple[Path, Path]) -> None:
    table, masks = acute_files
    write_mask(masks / "sub-0001_lesion.nii.gz", (400, 100, 80), np.ones((9, 8, 7), dtype=bool))

    with pytest.raises(LabelMapError, match="ICBM"):
        measure(read_patients(table, masks, NIHSS))


def test_an_unknown_outcome_is_wrong_usage() -> None:
    with pytest.raises(OptionError, match="nihss, language"):
        find_outcome("mrs")
