"""A planted effect is found, chance is not, and patients left out are never seen."""

from __future__ import annotations

import numpy as np
import pytest

from strokelabel.errors import DataError, OptionError
from strokelabel.outcome.evaluation import (
    Classes,
    CrossValidation,
    classification_task,
    cross_validate,
    fold_scores,
    inside_lock_box,
    outside_lock_box,
    repeated_folds,
    score_rows,
)
from strokelabel.outcome.models import (
    AVERAGE,
    CLASSIFICATION,
    REGRESSION,
    FittedModel,
    find_specs,
    fit_models,
    inner_folds,
    select_specs,
)
from strokelabel.outcome.patients import OUTCOMES
from strokelabel.outcome.predictors import Cohort, Predictors
from support.outcome_patients import PLANTED

NIHSS = OUTCOMES["nihss"]
LADDER = REGRESSION["nihss"][:3]


def test_damage_of_the_region_that_decides_predicts_better_than_size(acute: Cohort) -> None:
    run = cross_validate(LADDER, acute.predictors(), acute.values, repeated_folds(acute.ids, 10, 2))
    rows = {row.model: row for row in score_rows(run, "lesion size")}

    best = rows["+ 31 arterial regions"]
    assert best.overall is not None
    assert best.overall.low > 0.8
    assert best.p["mae"] < 0.01
    assert best.scores["mae"].high < rows["lesion size"].scores["mae"].low


def test_the_coefficients_of_a_planted_region_are_the_largest(acute: Cohort) -> None:
    spec = next(spec for spec in LADDER if spec.name == "+ 31 arterial regions")
    model = fit_models([spec], acute.predictors(), acute.values, 0)[spec.name]
    assert model.scaler is not None
    assert model.function is not None
    weights = np.zeros(sum(acute.predictors().widths(spec.blocks)))
    weights[model.scaler.keep] = model.function.arrays()["coefficients"]

    of_regions = np.abs(weights[4:35]) + np.abs(weights[35:])

    assert of_regions.argmax() == PLANTED


def test_with_shuffled_outcomes_no_model_is_better_than_chance(acute: Cohort) -> None:
    shuffled = np.random.default_rng(5).permutation(acute.values)
    specs = [spec for spec in REGRESSION["nihss"] if spec.name in {"lesion size", "+ 31 arterial regions"}]

    run = cross_validate(specs, acute.predictors(), shuffled, repeated_folds(acute.ids, 10, 2))

    for row in score_rows(run, "lesion size"):
        assert row.overall is not None
        assert row.overall.low < 0.1
        assert row.scores["r"].low < 0
        assert row.p["r"] > 0.05


def test_an_average_of_all_kinds_predicts_well_and_its_weights_sum_to_one(chronic: Cohort) -> None:
    predictors, true = chronic.predictors(), chronic.values
    specs = select_specs(find_specs("language", predictors), AVERAGE)
    train, test = np.arange(45), np.arange(45, 60)

    model = fit_models(specs, predictors.take(train), true[train], 0)[AVERAGE]

    assert sum(weight for weight, _ in model.members) == pytest.approx(1)
    assert all(weight >= 0 for weight, _ in model.members)
    assert np.corrcoef(model.predict(predictors.take(test)), true[test])[0, 1] > 0.6


def test_patients_left_out_influence_neither_scaling_nor_choices_nor_coefficients(acute: Cohort) -> None:
    """Changing everything about the test patients of a fold leaves the models of that fold as they were."""
    spec = [next(one for one in REGRESSION["nihss"] if one.name == "support vectors")]
    predictors, folds = acute.predictors(), repeated_folds(acute.ids, 10, 1)
    test = folds[0] == 0
    spoiled = Predictors({name: block.copy() for name, block in predictors.blocks.items()})
    for block in spoiled.blocks.values():
        block[test] = 1e3 * (1 + block[test])
    values = np.where(test, 42.0, acute.values)

    inside = np.flatnonzero(~test)
    first = fit_models(spec, predictors.take(inside), acute.values[inside], 0)["support vectors"]
    second = fit_models(spec, spoiled.take(inside), values[inside], 0)["support vectors"]
    run = cross_validate(spec, predictors, values, folds)

    assert first.setting == second.setting
    assert np.array_equal(first.predict(predictors), second.predict(predictors))
    outside = np.flatnonzero(test)
    assert np.array_equal(
        run.predicted["support vectors"][0, outside], first.predict(predictors.take(outside))
    )


def test_inner_folds_spread_low_and_high_outcomes_evenly() -> None:
    outcomes = np.arange(50, dtype=float)
    folds = inner_folds(outcomes, 3)

    assert np.bincount(folds).tolist() == [10] * 5
    assert all(abs(outcomes[folds == fold].mean() - outcomes.mean()) < 3 for fold in range(5))
    assert np.array_equal(folds, inner_folds(outcomes, 3))


def test_classifiers_give_probabilities_and_the_planted_region_raises_the_auc(
    acute: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CLASSIFICATION, "nihss", CLASSIFICATION["nihss"][:3])

    task = classification_task(NIHSS, acute, Classes.of(acute, 2))

    rows = {row.model: row for row in task.rows}
    assert rows["lesion size"].runs == 8
    assert all(((p >= 0) & (p <= 1)).all() for p in task.run.predicted.values())
    assert rows["+ 31 arterial regions"].scores["auc"].value > rows["lesion size"].scores["auc"].value + 0.1


def test_a_model_with_fewer_seeds_is_scored_on_those_that_it_has(acute: Cohort) -> None:
    classes = Classes.of(acute, 3)
    rng = np.random.default_rng(0)
    good = np.clip(classes.positive + rng.normal(0, 0.4, classes.folds.shape), 0, 1)
    few = good.copy()
    few[1:] = np.nan
    run = CrossValidation(classes.positive.astype(float), classes.folds, {"good": good, "few": few})

    all_seeds, one_seed = score_rows(run, "good", classifies=True)

    assert (all_seeds.runs, one_seed.runs) == (12, 4)
    assert one_seed.scores["auc"].value == pytest.approx(fold_scores(run, "good", True)[:4, 2].mean())
    assert one_seed.p["auc"] == 1


def test_average_of_probabilities_is_a_probability(acute: Cohort) -> None:
    predictors = acute.predictors()
    specs = select_specs(find_specs("nihss", predictors, classifies=True), AVERAGE)
    positive = (acute.values >= np.median(acute.values)).astype(float)

    found = fit_models(specs, predictors, positive, 0)[AVERAGE].predict(predictors)

    assert found.min() >= 0
    assert found.max() <= 1
    assert ((found > 0.5) == (positive > 0.5)).mean() > 0.8


def test_models_whose_predictors_are_missing_are_left_out(acute: Cohort, chronic: Cohort) -> None:
    names = {spec.name for spec in find_specs("nihss", acute.predictors())}

    assert "+ structures" not in names
    assert AVERAGE in names
    with pytest.raises(OptionError, match="expected predictors"):
        chronic.predictors().matrix(["age"])
    with pytest.raises(OptionError, match="expected one of the models lesion size"):
        select_specs(LADDER, "oracle")


def test_too_few_patients_or_equal_outcomes_are_refused(acute: Cohort) -> None:
    few = acute.take(np.arange(9))

    with pytest.raises(DataError, match="at least 10 training patients"):
        fit_models(LADDER, few.predictors(), few.values, 0)
    with pytest.raises(DataError, match="different outcomes"):
        fit_models(LADDER, acute.predictors(), np.full(150, 3.0), 0)


def test_the_lock_box_and_the_others_are_all_patients(acute: Cohort) -> None:
    locked, free = inside_lock_box(NIHSS, acute), outside_lock_box(NIHSS, acute)

    assert set(locked.ids) | set(free.ids) == set(acute.ids)
    assert not set(locked.ids) & set(free.ids)
    with pytest.raises(DataError, match="found none"):
        inside_lock_box(NIHSS, free)


def test_members_of_every_average_come_before_it() -> None:
    for specs in (*REGRESSION.values(), *CLASSIFICATION.values()):
        names = [spec.name for spec in specs]
        for spec in specs:
            assert all(names.index(member) < names.index(spec.name) for member in spec.members)
            assert FittedModel(spec).members == ()
