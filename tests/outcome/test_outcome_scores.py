"""Scores with known values, and intervals that cover what they promise on simulated patients."""

from __future__ import annotations

from math import isnan, sqrt

import numpy as np
import pytest
from scipy import stats

from strokelabel.outcome.scores import (
    IntervalRule,
    classification_scores,
    corrected_interval,
    corrected_p,
    correlation,
    correlation_interval,
    coverage,
    regression_scores,
)


def test_scores_of_known_predictions() -> None:
    probability = np.array([0.9, 0.8, 0.4, 0.3, 0.2, 0.6])
    positive = np.array([True, True, True, False, False, False])

    found = classification_scores(probability, positive)

    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["balanced_accuracy"] == pytest.approx(4 / 6)
    assert found["auc"] == pytest.approx(8 / 9)
    assert found["f1"] == pytest.approx(4 / 6)
    assert regression_scores(np.array([1.0, 2, 3]), np.array([2.0, 4, 6])) == pytest.approx(
        {"r": 1, "mae": 2}
    )


def test_a_constant_prediction_has_no_correlation_and_a_constant_truth_no_value() -> None:
    assert correlation(np.full(5, 3.0), np.arange(5.0)) == 0
    assert isnan(correlation(np.arange(5.0), np.full(5, 3.0)))
    assert isnan(classification_scores(np.array([0.2, 0.7]), np.array([True, True]))["auc"])


def test_confident_and_wrong_probabilities_are_badly_calibrated(rng: np.random.Generator) -> None:
    truth = rng.random(4000)
    positive = rng.random(4000) < truth

    good = classification_scores(truth, positive)["calibration_error"]
    bold = classification_scores(np.where(truth > 0.5, 0.99, 0.01), positive)["calibration_error"]

    assert good < 0.05
    assert bold > 0.2


def test_the_corrected_interval_is_nadeau_and_bengios() -> None:
    scores = np.array([0.5, 0.6, 0.55, 0.7])

    found = corrected_interval(scores, 1 / 3)

    half = stats.t.ppf(0.975, 3) * sqrt((1 / 4 + 1 / 3) * scores.var(ddof=1))
    assert (found.value, found.low, found.high) == pytest.approx(
        (scores.mean(), scores.mean() - half, scores.mean() + half)
    )


def test_the_corrected_p_is_larger_than_that_of_independent_folds() -> None:
    differences = np.array([0.02, 0.05, -0.01, 0.04, 0.03, 0.02, 0.01, 0.05])

    assert corrected_p(differences, 1 / 9) > stats.ttest_1samp(differences, 0).pvalue
    assert corrected_p(np.zeros(8), 1 / 9) == 1
    assert isnan(corrected_p(np.array([0.1]), 1 / 9))


def test_the_interval_of_a_correlation_holds_the_true_one(rng: np.random.Generator) -> None:
    true = rng.normal(size=300)
    predicted = 0.6 * true + 0.8 * rng.normal(size=(2, 300))

    found = correlation_interval(predicted, true)

    assert found.low < 0.6 < found.high
    assert found.high - found.low < 0.2


def _patients(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions and outcomes whose noise is skewed and grows with the prediction."""
    predicted = rng.uniform(1, 25, size=count)
    return predicted, predicted + np.sqrt(predicted) * (rng.gamma(2, 1, size=count) - 2)


@pytest.mark.parametrize("growing", [False, True])
def test_nine_in_ten_new_patients_are_inside_their_intervals(rng: np.random.Generator, growing: bool) -> None:
    found = []
    for _ in range(40):
        rule = IntervalRule.fit(*_patients(rng, 150), growing=growing, limits=(-99, 99))
        predicted, true = _patients(rng, 400)
        found.append(coverage(*rule.bounds(predicted), true))

    assert 0.89 < np.mean(found) < 0.93


def test_growing_intervals_are_narrower_where_little_is_predicted_and_keep_to_possible_outcomes(
    rng: np.random.Generator,
) -> None:
    rule = IntervalRule.fit(*_patients(rng, 500), growing=True, limits=(0, 42))

    low, high = rule.bounds(np.array([0.0, 1.0, 20.0, 41.0]))

    assert high[1] - low[1] < high[2] - low[2]
    assert low.min() == 0
    assert high.max() == 42
