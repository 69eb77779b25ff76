"""The lock box and the folds follow from ids alone, and a lock box is opened once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from strokelabel.errors import DataError
from strokelabel.outcome.protocol import (
    LOCK_BOX_FRACTION,
    check_may_open,
    check_was_opened,
    in_lock_box,
    make_folds,
    read_opening,
    write_opening,
)

GOLDEN_LOCK_BOX = ["sub-18", "sub-25", "sub-26", "sub-40"]
GOLDEN_FOLDS = [0, 2, 4, 9, 1, 9, 4, 3, 0, 6, 6, 2]

IDS = [f"sub-{number}" for number in range(1, 1001)]


def test_the_lock_box_is_fixed() -> None:
    """The rule never changes: patients would move between those that models are chosen and judged by."""
    found = [name for name in IDS[:40] if in_lock_box("nihss", [name])[0]]

    assert found == GOLDEN_LOCK_BOX


def test_the_lock_box_holds_about_a_fifth_whatever_other_patients_there_are() -> None:
    whole, half = in_lock_box("nihss", IDS), in_lock_box("nihss", IDS[::2])

    assert abs(whole.mean() - LOCK_BOX_FRACTION) < 0.03
    assert np.array_equal(whole[::2], half)
    assert not np.array_equal(whole, in_lock_box("language", IDS))


def test_folds_are_fixed_and_do_not_depend_on_the_order_of_the_table() -> None:
    folds, backwards = make_folds(IDS, 10, 0), make_folds(IDS[::-1], 10, 0)

    assert folds[:12].tolist() == GOLDEN_FOLDS
    assert np.array_equal(folds, backwards[::-1])
    assert np.bincount(folds).tolist() == [100] * 10
    assert not np.array_equal(folds, make_folds(IDS, 10, 1))


def test_folds_have_the_same_share_of_both_classes() -> None:
    classes = np.arange(1000) % 3 == 0
    folds = make_folds(IDS, 4, 0, classes)

    assert np.ptp([classes[folds == fold].sum() for fold in range(4)]) <= 1


def test_fewer_patients_than_folds_are_refused() -> None:
    with pytest.raises(DataError, match="at least 10 patients"):
        make_folds(IDS[:9], 10, 0)


def test_a_lock_box_is_opened_once(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    assert check_may_open(record, "nihss", "a" * 64) is None
    with pytest.raises(DataError, match="found none"):
        check_was_opened(record, "nihss")

    written = write_opening(record, "nihss", "a" * 64, IDS[:3], {"r": 0.5})

    assert check_may_open(record, "nihss", "a" * 64) == written
    with pytest.raises(DataError, match="with another model"):
        check_may_open(record, "nihss", "b" * 64)
    with pytest.raises(DataError, match="another model"):
        check_may_open(record, "language", "a" * 64)
    check_was_opened(record, "nihss")
    with pytest.raises(DataError, match="lock box of language"):
        check_was_opened(record, "language")
    assert json.loads(record.read_text())["n"] == 3


def test_a_damaged_record_does_not_count_as_a_closed_lock_box(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    record.write_text("{}")

    with pytest.raises(DataError, match="record of a lock box"):
        read_opening(record)
