"""Models of an outcome: the ladder from lesion size upwards, strong baselines, and their average.

Every choice (hyperparameters, weights of an average) is made by folds within the training patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from strokelabel.errors import DataError, OptionError
from strokelabel.outcome.learners import (
    KERNEL,
    LOGISTIC,
    PLAIN_SVR,
    PLS,
    RIDGE,
    TREE_CLASSES,
    TREES,
    Fitted,
    Learner,
    Scaler,
)
from strokelabel.outcome.predictors import COMMON_UNIT, Predictors

INNER_FOLDS: Final = 5


@dataclass(frozen=True)
class ModelSpec:
    """A model that can be fitted.

    Attributes:
        name: of it, in tables and files.
        learner: of one function; None for an average of members.
        blocks: predictors that it sees.
        members: names of the models that it averages, with weights that sum to one.
        balanced, least: see `learners.Scaler.fit`.
        classifies: it predicts the probability that the outcome is at or above a threshold.
    """

    name: str
    learner: Learner | None
    blocks: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    balanced: bool = False
    least: float = 0.0
    classifies: bool = False

    def needs(self, specs: Mapping[str, ModelSpec]) -> tuple[str, ...]:
        """Return all blocks that it or its members see."""
        own = (block for name in self.members for block in specs[name].blocks)
        return tuple(dict.fromkeys((*self.blocks, *own)))


_SIZE: Final = ("volume", "size")
_FACTS: Final = (*_SIZE, "age")
_REGIONS: Final = (*_FACTS, "fractions", "root fractions")
_ALL: Final = (*_REGIONS, "tissues")
_WITHOUT_AGE: Final = tuple(block for block in _ALL if block != "age")
_ALL_CHRONIC: Final = (*_SIZE, "tissues")

AVERAGE: Final = "average"

REGRESSION: Final = {
    "nihss": (
        ModelSpec("lesion size", RIDGE, _SIZE),
        ModelSpec("+ age", RIDGE, _FACTS),
        ModelSpec("+ 31 arterial regions", RIDGE, _REGIONS),
        ModelSpec("+ tissues by side", RIDGE, _ALL),
        ModelSpec("data set's script", PLAIN_SVR, ("volume", "age", "fractions"), least=0.1),
        ModelSpec("voxels", RIDGE, (*_FACTS, "root voxels"), balanced=True, least=0.01),
        ModelSpec("partial least squares", PLS, (*_ALL, "root voxels"), balanced=True, least=0.01),
        ModelSpec("support vectors", KERNEL, _ALL),
        ModelSpec("support vectors without age", KERNEL, _WITHOUT_AGE),
        ModelSpec("gradient boosting", TREES, ("volume", "age", "fractions", "tissues")),
        ModelSpec(
            AVERAGE,
            None,
            members=("+ tissues by side", "voxels", "partial least squares", "support vectors", "gradient boosting"),
        ),
        ModelSpec("+ structures", RIDGE, (*_REGIONS, "structures")),
        ModelSpec("support vectors, structures", KERNEL, (*_ALL, "structures")),
    ),
    "language": (
        ModelSpec("lesion size", RIDGE, _SIZE),
        ModelSpec("+ tissues", RIDGE, _ALL_CHRONIC),
        ModelSpec("voxels", RIDGE, ("voxels",), least=0.03),
        ModelSpec("partial least squares", PLS, (*_ALL_CHRONIC, "voxels"), balanced=True, least=0.03),
        ModelSpec("support vectors", KERNEL, ("voxels",), least=0.03),
        ModelSpec("gradient boosting", TREES, ("volume", "tissues")),
        ModelSpec(
            AVERAGE,
            None,
            members=("voxels", "partial least squares", "support vectors", "gradient boosting"),
        ),
        ModelSpec("+ structures", RIDGE, (*_SIZE, "structures")),
    ),
}  # fmt: skip
"""Models of each outcome. The first is the reference; those whose predictors are not there are left out."""

DEFAULT: Final = {"nihss": "support vectors", "language": AVERAGE}
"""The best models by cross-validation outside the lock box (`training/docs/outcome.md`), structures aside."""

CLASSIFICATION: Final = {
    "nihss": (
        ModelSpec("lesion size", LOGISTIC, _SIZE, classifies=True),
        ModelSpec("+ age", LOGISTIC, _FACTS, classifies=True),
        ModelSpec("+ 31 arterial regions", LOGISTIC, _REGIONS, classifies=True),
        ModelSpec("+ tissues by side", LOGISTIC, _ALL, classifies=True),
        ModelSpec("voxels", LOGISTIC, (*_FACTS, "root voxels"), balanced=True, least=0.01, classifies=True),
        ModelSpec(
            "gradient boosting", TREE_CLASSES, ("volume", "age", "fractions", "tissues"), classifies=True
        ),
        ModelSpec(AVERAGE, None, members=("+ tissues by side", "gradient boosting"), classifies=True),
    ),
    "language": (),
}
"""Models of whether the outcome is at or above its median; none for few patients."""


def find_specs(outcome: str, predictors: Predictors, *, classifies: bool = False) -> tuple[ModelSpec, ...]:
    """Return the models of an outcome whose predictors are there."""
    specs = (CLASSIFICATION if classifies else REGRESSION)[outcome]
    named = {spec.name: spec for spec in specs}
    return tuple(spec for spec in specs if predictors.has(spec.needs(named)))


def select_specs(specs: Sequence[ModelSpec], name: str) -> tuple[ModelSpec, ...]:
    """Return a model and the members that it needs, members first.

    Raises:
        OptionError: no model of that name.
    """
    named = {spec.name: spec for spec in specs}
    if name not in named:
        raise OptionError(f"expected one of the models {', '.join(named)}, got {name!r}")
    return (*(named[member] for member in named[name].members), named[name])


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A model that was fitted.

    Attributes:
        spec: which.
        scaler, function: of a single model.
        setting: the hyperparameters that were chosen.
        members: (weight, model) of an average.
    """

    spec: ModelSpec
    scaler: Scaler | None = None
    function: Fitted | None = None
    setting: Mapping[str, float] | None = None
    members: tuple[tuple[float, FittedModel], ...] = ()

    def predict(self, predictors: Predictors) -> NDArray[np.float64]:
        """Return the predicted outcome of each patient, or for a classifier the probability, (patients,)."""
        if self.members:
            parts = [weight * model.predict(predictors) for weight, model in self.members]
            return np.asarray(np.sum(parts, axis=0))
        assert self.scaler is not None
        assert self.function is not None
        found = self.function(self.scaler(predictors.matrix(self.spec.blocks)))
        return 1 / (1 + np.exp(-np.clip(found, -500, 500))) if self.spec.classifies else found


def fit_models(
    specs: Sequence[ModelSpec], predictors: Predictors, outcomes: NDArray[np.float64], seed: int
) -> dict[str, FittedModel]:
    """Fit models to training patients.

    Args:
        specs: of the models; an average comes after its members.
        predictors: of the training patients.
        outcomes: (patients,); 0 or 1 for classifiers.
        seed: of the inner folds and of random learners.

    Returns:
        The models by name.

    Raises:
        DataError: there are too few patients, or their outcomes do not differ.
    """
    _check_outcomes(outcomes)
    folds = inner_folds(outcomes, seed)
    fitted: dict[str, FittedModel] = {}
    unseen: dict[str, NDArray[np.float64]] = {}
    wanted = {name for spec in specs for name in spec.members}
    for spec in specs:
        if spec.learner is None:
            weights = _weights([unseen[name] for name in spec.members], outcomes)
            parts = zip(weights, (fitted[name] for name in spec.members), strict=True)
            fitted[spec.name] = FittedModel(spec, members=tuple((float(w), model) for w, model in parts))
            continue
        setting, unseen[spec.name] = _tune(
            spec, spec.learner, predictors, outcomes, folds, seed, spec.name in wanted
        )
        fitted[spec.name] = _fit(spec, spec.learner, predictors, outcomes, setting, seed)
    return fitted


def inner_folds(outcomes: NDArray[np.float64], seed: int) -> NDArray[np.intp]:
    """Return folds within training patients in which low and high outcomes are spread evenly, (patients,)."""
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(outcomes)), outcomes))
    folds = np.empty(len(outcomes), dtype=np.intp)
    for start in range(0, len(order), INNER_FOLDS):
        block = order[start : start + INNER_FOLDS]
        folds[block] = rng.permutation(INNER_FOLDS)[: len(block)]
    return folds


def _check_outcomes(outcomes: NDArray[np.float64]) -> None:
    if len(outcomes) < 2 * INNER_FOLDS or outcomes.std() == 0:
        raise DataError(
            f"expected at least {2 * INNER_FOLDS} training patients with different outcomes, found {len(outcomes)} "
            f"with {len(np.unique(outcomes))}; add patients"
        )


def _tune(
    spec: ModelSpec,
    learner: Learner,
    predictors: Predictors,
    outcomes: NDArray[np.float64],
    folds: NDArray[np.intp],
    seed: int,
    always: bool,
) -> tuple[Mapping[str, float], NDArray[np.float64]]:
    """Return the setting with the least loss on inner folds, and its predictions of the patients left out there.

    With a single setting there is nothing to choose; the predictions are then made only where `always` is true.
    """
    if len(learner.settings) == 1 and not always:
        return learner.settings[0], np.full(len(outcomes), np.nan)
    unseen = np.empty((len(learner.settings), len(outcomes)))
    for fold in range(INNER_FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        train, test = predictors.take(inside), predictors.take(outside)
        scaler = _scaler(spec, train)
        functions = learner.fit(scaler(train.matrix(spec.blocks)), outcomes[inside], learner.settings, seed)
        for index, function in enumerate(functions):
            unseen[index, outside] = FittedModel(spec, scaler, function).predict(test)
    best = int(np.argmin([_loss(one, outcomes, spec.classifies) for one in unseen]))
    return learner.settings[best], unseen[best]


def _loss(predicted: NDArray[np.float64], outcomes: NDArray[np.float64], classifies: bool) -> float:
    """Return the mean squared error, or of probabilities the mean negative log likelihood."""
    if not classifies:
        return float(((predicted - outcomes) ** 2).mean())
    right = np.where(outcomes > 0.5, predicted, 1 - predicted)
    return float(-np.log(np.maximum(right, 1e-7)).mean())


def _fit(
    spec: ModelSpec,
    learner: Learner,
    predictors: Predictors,
    outcomes: NDArray[np.float64],
    setting: Mapping[str, float],
    seed: int,
) -> FittedModel:
    scaler = _scaler(spec, predictors)
    X = scaler(predictors.matrix(spec.blocks))
    return FittedModel(spec, scaler, learner.fit(X, outcomes, [setting], seed)[0], setting)


def _scaler(spec: ModelSpec, predictors: Predictors) -> Scaler:
    scaler = Scaler.fit(
        predictors.matrix(spec.blocks),
        predictors.widths(spec.blocks),
        common=[name in COMMON_UNIT for name in spec.blocks],
        balanced=spec.balanced,
        least=spec.least,
    )
    if not len(scaler.keep):
        raise DataError(
            f"expected predictors that differ between patients for the model {spec.name!r}, found none"
        )
    return scaler


def _weights(unseen: Sequence[NDArray[np.float64]], outcomes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights, positive or zero with sum 1, whose average of predictions has about the least squared error."""
    centre = outcomes.mean()
    found, _ = nnls(np.stack(unseen, axis=1) - centre, outcomes - centre)
    if found.sum() == 0:
        return np.full(len(unseen), 1 / len(unseen))
    return np.asarray(found / found.sum())
