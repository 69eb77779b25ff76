"""The split into training, validation and test depends on nothing but the name."""

import pytest

from strokelabel.errors import DataError
from strokelabel.synthesis.prepared.dataset import stable_split


def test_a_name_always_falls_into_the_same_part():
    # Written down: a change here would mix training lesions into validation.
    assert stable_split("soop_sub-0001") == "train"
    assert stable_split("soop_sub-0003") == "validation"
    assert stable_split("soop_sub-0032") == "test"


def test_parts_are_as_large_as_asked():
    fractions = {"train": 0.6, "validation": 0.3, "test": 0.1}
    drawn = [stable_split(f"lesion-{k}", fractions) for k in range(4000)]
    for part, fraction in fractions.items():
        assert drawn.count(part) / len(drawn) == pytest.approx(fraction, abs=0.03)


def test_a_larger_training_part_takes_no_training_name_away():
    names = [f"lesion-{k}" for k in range(500)]
    more = {"train": 0.9, "validation": 0.05, "test": 0.05}
    assert all(stable_split(name, more) == "train" for name in names if stable_split(name) == "train")


@pytest.mark.parametrize("fractions", [{"train": 0.5}, {"train": 1.5, "test": -0.5}])
def test_fractions_that_are_no_whole_are_refused(fractions):
    with pytest.raises(DataError, match="add up to 1"):
        stable_split("x", fractions)
