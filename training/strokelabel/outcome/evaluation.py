"""Evaluation of outcome models by repeated cross-validation, and on the lock box."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from strokelabel.errors import DataError
from strokelabel.outcome.models import ModelSpec, find_specs, fit_models
from strokelabel.outcome.patients import Outcome
from strokelabel.outcome.predictors import Cohort, Predictors
from strokelabel.outcome.protocol import (
    CLASSIFICATION_FOLDS,
    REGRESSION_FOLDS,
    in_lock_box,
    make_folds,
)
from strokelabel.outcome.scores import (
    Interval,
    classification_scores,
    corrected_interval,
    corrected_p,
    correlation_interval,
    regression_scores,
)

OnProgress: TypeAlias = Callable[[int], None]
"""Called with the number of folds that are done."""

REGRESSION_SCORES: Final = ("r", "mae")
CLASSIFICATION_SCORES: Final = ("accuracy", "balanced_accuracy", "auc", "f1", "calibration_error")


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Out-of-fold predictions of models for the same patients in the same folds.

    Attributes:
        true: (patients,) outcomes; 0 or 1 for classifiers.
        folds: (repeats, patients) fold of each patient.
        predicted: model -> (repeats, patients); NaN in repeats that a model does not have.
    """

    true: NDArray[np.float64]
    folds: NDArray[np.intp]
    predicted: Mapping[str, NDArray[np.float64]]

    @property
    def fold_count(self) -> int:
        """Folds of each repeat."""
        return int(self.folds.max()) + 1

    @property
    def test_fraction(self) -> float:
        """Test patients for each training patient."""
        return 1 / (self.fold_count - 1)


def cross_validate(
    specs: Sequence[ModelSpec],
    predictors: Predictors,
    true: NDArray[np.float64],
    folds: NDArray[np.intp],
    on_progress: OnProgress = lambda done: None,
) -> CrossValidation:
    """Predict each patient by models that were fitted to the other folds.

    Args:
        specs: of the models; an average comes after its members.
        predictors: of all patients.
        true: (patients,).
        folds: (repeats, patients).
        on_progress: see `OnProgress`.

    Raises:
        DataError: a training set is too small, or its outcomes do not differ.
    """
    predicted = {spec.name: np.full(folds.shape, nan) for spec in specs}
    done = 0
    for repeat, of_repeat in enumerate(folds):
        for fold in np.unique(of_repeat):
            train, test = np.flatnonzero(of_repeat != fold), np.flatnonzero(of_repeat == fold)
            fitted = fit_models(specs, predictors.take(train), true[train], seed=repeat)
            unseen = predictors.take(test)
            for name, model in fitted.items():
                predicted[name][repeat, test] = model.predict(unseen)
            done += 1
            on_progress(done)
    return CrossValidation(true, folds, predicted)


def repeated_folds(
    ids: Sequence[str], count: int, repeats: int, classes: NDArray[np.bool_] | None = None
) -> NDArray[np.intp]:
    """Return the folds of `protocol.make_folds` for the seeds 0 to `repeats` - 1, (repeats, patients)."""
    return np.stack([make_folds(ids, count, seed, classes) for seed in range(repeats)])


@dataclass(frozen=True)
class ScoreRow:
    """Scores of a model in cross-validation.

    Attributes:
        model: its name.
        n, runs: patients, and folds times repeats.
        overall: R over all patients by resampling them; None for classifiers.
        scores: score -> its mean over folds and corrected t interval.
        p: score -> two-sided p of the difference from the reference model; 1 for the reference itself.
    """

    model: str
    n: int
    runs: int
    overall: Interval | None
    scores: Mapping[str, Interval]
    p: Mapping[str, float]


def score_rows(run: CrossValidation, reference: str, *, classifies: bool = False) -> tuple[ScoreRow, ...]:
    """Return a row of scores for each model.

    Args:
        run: predictions.
        reference: model that the others are compared with.
        classifies: whether the predictions are probabilities.
    """
    names = CLASSIFICATION_SCORES if classifies else REGRESSION_SCORES
    folds = {model: fold_scores(run, model, classifies) for model in run.predicted}
    rows = []
    for model, predicted in run.predicted.items():
        scores = {
            name: corrected_interval(folds[model][:, column], run.test_fraction)
            for column, name in enumerate(names)
        }
        different = folds[model] - folds[reference]
        p = {name: corrected_p(different[:, column], run.test_fraction) for column, name in enumerate(names)}
        overall = None if classifies else correlation_interval(predicted, run.true)
        runs = int((~np.isnan(folds[model])).any(axis=1).sum())
        rows.append(ScoreRow(model, len(run.true), runs, overall, scores, p))
    return tuple(rows)


def fold_scores(run: CrossValidation, model: str, classifies: bool) -> NDArray[np.float64]:
    """Return the scores of a model in each fold of each repeat, (folds × repeats, scores); NaN without predictions."""
    rows: list[list[float]] = []
    for of_repeat, predicted in zip(run.folds, run.predicted[model], strict=True):
        for fold in np.unique(of_repeat):
            test = of_repeat == fold
            if np.isnan(predicted[test]).any():
                rows.append([nan] * len(CLASSIFICATION_SCORES if classifies else REGRESSION_SCORES))
                continue
            found = (
                classification_scores(predicted[test], run.true[test] > 0.5)
                if classifies
                else regression_scores(predicted[test], run.true[test])
            )
            rows.append(list(found.values()))
    return np.array(rows)


@dataclass(frozen=True, eq=False)
class Task:
    """A cross-validation and its scores.

    Attributes:
        name: `regression` or `classification`.
        caption: what was done, in a sentence.
        tested: score by which models are compared with the first.
        run: the predictions.
        rows: the scores.
    """

    name: str
    caption: str
    tested: str
    run: CrossValidation
    rows: tuple[ScoreRow, ...]


def regression_task(
    outcome: Outcome, cohort: Cohort, repeats: int, on_progress: OnProgress = lambda done: None
) -> Task:
    """Compare the regression models of an outcome by repeated ten-fold cross-validation.

    Raises:
        DataError: there are too few patients.
    """
    predictors, true = cohort.predictors(), cohort.values
    specs = find_specs(outcome.name, predictors)
    folds = repeated_folds(cohort.ids, REGRESSION_FOLDS, repeats)
    run = cross_validate(specs, predictors, true, folds, on_progress)
    caption = f"{outcome.title}, {len(true)} patients, {REGRESSION_FOLDS} folds, {repeats} repeats."
    return Task("regression", caption, "r", run, score_rows(run, specs[0].name))


@dataclass(frozen=True, eq=False)
class Classes:
    """Two classes of patients: the outcome is at or above the median of these patients, or below.

    Attributes:
        threshold: the median.
        positive: (patients,) at or above it.
        folds: (seeds, patients), with equal shares of both classes.
    """

    threshold: float
    positive: NDArray[np.bool_]
    folds: NDArray[np.intp]

    @classmethod
    def of(cls, cohort: Cohort, seeds: int) -> Classes:
        """Return the classes of patients, and their folds.

        Raises:
            DataError: there are too few patients.
        """
        threshold = float(np.median(cohort.values))
        positive = cohort.values >= threshold
        return cls(threshold, positive, repeated_folds(cohort.ids, CLASSIFICATION_FOLDS, seeds, positive))


def classification_task(
    outcome: Outcome,
    cohort: Cohort,
    classes: Classes,
    on_progress: OnProgress = lambda done: None,
    networks: Mapping[str, NDArray[np.float64]] = MappingProxyType({}),
) -> Task:
    """Compare models of whether the outcome is at or above its median, by repeated four-fold cross-validation.

    Args:
        outcome: to predict.
        cohort: the patients.
        classes: of these patients.
        on_progress: see `OnProgress`.
        networks: predictions of further models in the same folds, name -> (seeds, patients).

    Raises:
        DataError: there are too few patients.
    """
    predictors, positive = cohort.predictors(), classes.positive
    specs = find_specs(outcome.name, predictors, classifies=True)
    run = cross_validate(specs, predictors, positive.astype(np.float64), classes.folds, on_progress)
    run = replace(run, predicted={**run.predicted, **networks})
    caption = (
        f"{outcome.title} of {classes.threshold:g} or more ({positive.sum()} of {len(positive)} patients), "
        f"{CLASSIFICATION_FOLDS} folds, {len(classes.folds)} seeds."
    )
    return Task("classification", caption, "auc", run, score_rows(run, specs[0].name, classifies=True))


def outside_lock_box(outcome: Outcome, cohort: Cohort) -> Cohort:
    """Return the patients that models may be developed with."""
    return cohort.take(np.flatnonzero(~in_lock_box(outcome.name, cohort.ids)))


def inside_lock_box(outcome: Outcome, cohort: Cohort) -> Cohort:
    """Return the patients of the lock box.

    Raises:
        DataError: there is none.
    """
    index = np.flatnonzero(in_lock_box(outcome.name, cohort.ids))
    if not len(index):
        raise DataError("expected patients of the lock box, found none; give the whole table")
    return cohort.take(index)
