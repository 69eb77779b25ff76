"""Plain arrays predict what scikit-learn predicts, and scaling knows training patients alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVR

from strokelabel.outcome.learners import (
    KERNEL,
    KINDS,
    LOGISTIC,
    PLAIN_SVR,
    PLS,
    RIDGE,
    TREE_CLASSES,
    TREES,
    Learner,
    Scaler,
    Trees,
)


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    X = rng.normal(size=(90, 7))
    return X, 3 + X[:, 0] - 2 * np.maximum(X[:, 1], 0) + 0.3 * rng.normal(size=90)


@pytest.mark.parametrize("learner", [RIDGE, PLS, KERNEL, PLAIN_SVR, TREES], ids=lambda one: one.name)
def test_a_stored_function_predicts_the_same_and_better_than_the_mean(
    learner: Learner, data: tuple[np.ndarray, np.ndarray]
) -> None:
    X, y = data
    for function in learner.fit(X[:60], y[:60], learner.settings, 0):
        again = KINDS[function.kind].from_arrays(function.arrays())

        assert np.array_equal(again(X), function(X))
    assert np.corrcoef(function(X[60:]), y[60:])[0, 1] > 0.6


def test_partial_least_squares_of_few_components_are_the_first_of_many(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = data
    found = PLS.fit(X, y, PLS.settings, 0)

    for setting, function in zip(PLS.settings, found, strict=True):
        model = PLSRegression(int(setting["components"]), scale=False).fit(X, y)
        assert np.allclose(function(X), model.predict(X))


def test_trees_predict_what_scikit_learn_predicts(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    model = GradientBoostingRegressor(n_estimators=40, max_depth=3, random_state=0).fit(X, y)
    classes = GradientBoostingClassifier(n_estimators=30, random_state=0).fit(X, y > 3)
    share = (y > 3).mean()

    assert np.allclose(Trees.of(model, y.mean(), 40)(X), model.predict(X))
    log_odds = Trees.of(classes, float(np.log(share / (1 - share))), 30)(X)
    assert np.allclose(log_odds, classes.decision_function(X))


def test_default_support_vectors_are_scikit_learns(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data

    assert np.allclose(PLAIN_SVR.fit(X, y, [{}], 0)[0](X), SVR(kernel="rbf").fit(X, y).predict(X))


def test_logistic_regression_in_the_space_of_the_patients_is_exact(rng: np.random.Generator) -> None:
    X = rng.normal(size=(40, 130))
    y = (X[:, 0] + X[:, 1] > 0).astype(float)
    expected = LogisticRegression(C=0.01, max_iter=2000, tol=1e-8).fit(X - X.mean(axis=0), y)

    found = LOGISTIC.fit(X, y, [{"C": 0.01}], 0)[0](X)

    assert np.allclose(found, expected.decision_function(X - X.mean(axis=0)), atol=1e-2)


def test_classifying_trees_separate_what_is_separable(data: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = data
    found = TREE_CLASSES.fit(X, (y > 3).astype(float), TREE_CLASSES.settings, 0)[-1]

    assert ((found(X) > 0) == (y > 3)).mean() > 0.9


def test_rare_and_constant_columns_are_left_out(rng: np.random.Generator) -> None:
    X = rng.normal(size=(50, 4))
    X[:, 1] = 7
    X[2:, 2] = 0

    scaler = Scaler.fit(X, [4])

    assert scaler.keep.tolist() == [0, 3]
    assert np.allclose(scaler(X).std(axis=0), 1)


def test_columns_of_one_unit_keep_their_variances_relative_to_one_another(rng: np.random.Generator) -> None:
    X = rng.normal(size=(200, 5)) * [1, 9, 1, 2, 4]

    scaled = Scaler.fit(X, [2, 3], common=[False, True], balanced=True)(X)

    variances = scaled.var(axis=0)
    assert variances[:2] == pytest.approx([0.5, 0.5])
    assert variances[2:].sum() == pytest.approx(1)
    assert variances[4] / variances[2] == pytest.approx(X[:, 4].var() / X[:, 2].var())
