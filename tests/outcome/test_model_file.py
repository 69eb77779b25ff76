"""A model file holds arrays and a description, and predicts what the fitted model predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from strokelabel.errors import OptionError, WeightsError
from strokelabel.outcome.loads import lesion_loads
from strokelabel.outcome.model_file import (
    OutcomeModel,
    fit_outcome_model,
    load_outcome_model,
    lock_box_scores,
    save_outcome_model,
)
from strokelabel.outcome.models import AVERAGE, find_specs, fit_models, select_specs
from strokelabel.outcome.patients import OUTCOMES
from strokelabel.outcome.predictors import Cohort
from strokelabel.outcome.scores import IntervalRule
from support.outcome_patients import cohort

NIHSS, LANGUAGE = OUTCOMES["nihss"], OUTCOMES["language"]


@pytest.fixture(scope="module")
def fitted(acute: Cohort) -> OutcomeModel:
    return fit_outcome_model(NIHSS, "+ 31 arterial regions", acute)


def test_a_loaded_model_predicts_the_same(fitted: OutcomeModel, acute: Cohort, tmp_path: Path) -> None:
    save_outcome_model(fitted, tmp_path / "model.safetensors")
    loaded = load_outcome_model(tmp_path / "model.safetensors")

    for mine, other in zip(
        fitted.predict_all(acute.loads, acute.ages), loaded.predict_all(acute.loads, acute.ages), strict=True
    ):
        assert np.array_equal(mine, other)
    assert loaded.rule == fitted.rule
    assert loaded.predict(acute.loads[0], 50) == fitted.predict(acute.loads[0], 50)


def test_an_average_of_all_kinds_is_stored_too(chronic: Cohort, tmp_path: Path) -> None:
    specs = select_specs(find_specs("language", chronic.predictors()), AVERAGE)
    model = fit_models(specs, chronic.predictors(), chronic.values, 0)[AVERAGE]
    rule = IntervalRule(-0.2, 0.2, 0.0, -5, 5)
    save_outcome_model(
        OutcomeModel(LANGUAGE, model, rule, None, (1, 9), None, 60), tmp_path / "a.safetensors"
    )

    loaded = load_outcome_model(tmp_path / "a.safetensors")

    assert np.array_equal(loaded.predict_all(chronic.loads, None)[0], model.predict(chronic.predictors()))


def test_fitting_again_gives_the_same_file(acute: Cohort, fitted: OutcomeModel, tmp_path: Path) -> None:
    again = fit_outcome_model(NIHSS, "+ 31 arterial regions", acute)
    for name, model in (("a", fitted), ("b", again)):
        save_outcome_model(model, tmp_path / f"{name}.safetensors")

    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_intervals_cover_unseen_patients(fitted: OutcomeModel) -> None:
    unseen = cohort(120, NIHSS, seed=7)

    scores = lock_box_scores(fitted, unseen)

    assert scores["r"] > 0.8
    assert 0.82 <= scores["coverage"] <= 0.98
    assert scores["n"] == 120


def test_an_estimate_lies_inside_its_interval_and_its_range(fitted: OutcomeModel, acute: Cohort) -> None:
    value, low, high = fitted.predict_all(acute.loads, acute.ages)

    assert (low <= high).all()
    assert low.min() >= 0
    assert high.max() <= 42
    assert ((low <= value) & (value <= high)).mean() > 0.95


def test_a_lesion_or_an_age_like_none_of_the_patients_is_noted(fitted: OutcomeModel) -> None:
    tiny = lesion_loads((80, 100, 80), np.ones((2, 2, 2), dtype=bool))
    usual = lesion_loads((60, 100, 80), np.ones((20, 20, 20), dtype=bool))

    notes = fitted.predict(tiny, 101).notes

    assert notes[0].startswith("a lesion of 0.0 ml is outside what the model was fitted to")
    assert notes[1].startswith("an age of 101 years is outside")
    assert fitted.predict(usual, 60).notes == ()


def test_a_right_lesion_is_noted_by_a_model_of_left_strokes(chronic: Cohort) -> None:
    spec = select_specs(find_specs("language", chronic.predictors()), "lesion size")
    model = fit_models(spec, chronic.predictors(), chronic.values, 0)["lesion size"]
    fitted = OutcomeModel(LANGUAGE, model, IntervalRule(-1, 1, 0.0, -5, 5), None, (0, 99), None, 60)
    box = np.ones((20, 20, 20), dtype=bool)

    assert fitted.predict(lesion_loads((60, 100, 80), box)).notes == ()
    assert (
        "8.0 ml of the lesion are on the right" in fitted.predict(lesion_loads((130, 100, 80), box)).notes[0]
    )


def test_a_missing_age_is_not_guessed(fitted: OutcomeModel, acute: Cohort) -> None:
    with pytest.raises(OptionError, match="expected the age in years"):
        fitted.predict(acute.loads[0])


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04pickle", b"\x02\x00\x00\x00\x00\x00\x00\x00{}"],
    ids=["empty", "pickle", "bare"],
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)

    with pytest.raises(WeightsError):
        load_outcome_model(tmp_path / "model.safetensors")


def test_a_file_without_an_array_is_refused(fitted: OutcomeModel, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "model.safetensors"
    save_outcome_model(fitted, path)
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    arrays = load_file(path)
    del arrays["0.function.coefficients"]
    save_file(arrays, path, metadata)

    with pytest.raises(WeightsError, match="fit it again"):
        load_outcome_model(path)
    with pytest.raises(WeightsError, match=r"ends in \.safetensors"):
        save_outcome_model(fitted, tmp_path / "model.pkl")
