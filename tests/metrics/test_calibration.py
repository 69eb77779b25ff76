"""Reliability curves, the expected calibration error, and the temperature that repairs logits of a known scale."""

from __future__ import annotations

import numpy as np
import pytest

from strokelabel.metrics.calibration import (
    at_temperature,
    fit_temperature,
    negative_log_likelihood,
    reliability_curve,
)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def test_probabilities_that_are_frequencies_have_no_error(rng: np.random.Generator) -> None:
    probability = rng.uniform(size=200_000)
    curve = reliability_curve(probability, rng.uniform(size=200_000) < probability)
    assert curve.expected_error < 0.005 and curve.count.sum() == 200_000
    np.testing.assert_allclose(curve.probability, (np.arange(15) + 0.5) / 15, atol=0.005)


def test_the_error_is_the_mean_distance_over_all_voxels() -> None:
    probability = np.array([0.9, 0.9, 0.9, 0.9, 0.1])
    positive = np.array([True, True, False, False, False])
    curve = reliability_curve(probability, positive, bins=10)
    assert curve.expected_error == pytest.approx((4 * 0.4 + 1 * 0.1) / 5)
    assert np.isnan(curve.frequency[5]) and curve.frequency[9] == 0.5
    assert np.isnan(reliability_curve(np.empty(0), np.empty(0, bool)).expected_error)


def test_certainty_falls_into_the_last_bin() -> None:
    curve = reliability_curve(np.array([1.0, 0.0]), np.array([True, False]))
    assert curve.count[0] == curve.count[-1] == 1 and curve.expected_error == 0


@pytest.mark.parametrize("scale", [0.5, 2.5])
def test_the_temperature_of_scaled_logits_is_their_scale(rng: np.random.Generator, scale: float) -> None:
    logits = rng.normal(size=(100_000, 4)) * 2
    drawn = (softmax(logits).cumsum(axis=1) > rng.uniform(size=(100_000, 1))).argmax(axis=1)
    shown, positive = softmax(scale * logits), drawn == 3
    temperature = fit_temperature(shown, 3, positive)
    assert temperature == pytest.approx(scale, rel=0.05)
    repaired = at_temperature(shown, 3, temperature)
    np.testing.assert_allclose(repaired, softmax(logits)[:, 3], atol=0.03)
    assert negative_log_likelihood(repaired, positive) < negative_log_likelihood(shown[:, 3], positive)
    before, after = (reliability_curve(p, positive).expected_error for p in (shown[:, 3], repaired))
    assert after < 0.01 < before


def test_certain_and_wrong_is_costly_but_finite() -> None:
    assert 10 < negative_log_likelihood(np.array([0.0]), np.array([True])) < 20
