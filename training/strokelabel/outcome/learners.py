"""Learners, and what they learn as plain arrays: linear functions, kernel expansions and trees.

scikit-learn fits; the fitted functions are evaluated and stored here, so that no model file is a pickle and a
prediction does not depend on the version of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.svm import SVR

Arrays: TypeAlias = Mapping[str, NDArray[np.generic]]
Setting: TypeAlias = Mapping[str, float]

_LEAST_PATIENTS: Final = 3
"""A column that is not zero in fewer training patients is left out."""

_SMALLEST_SD: Final = 1e-9


class Fitted(Protocol):
    """A function of predictors that was learned."""

    kind: ClassVar[str]

    def __call__(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the value for each row of (patients, columns)."""
        ...

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays that `from_arrays` takes."""
        ...

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the function of these arrays; KeyError where one is missing."""
        ...


@dataclass(frozen=True, eq=False)
class Scaler:
    """Standardisation of columns by the training patients alone.

    Attributes:
        keep: indices of the columns that are used.
        mean, scale: of those; scale also holds the weight of the column's block.
    """

    keep: NDArray[np.int64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        X: NDArray[np.float64],
        widths: Sequence[int],
        *,
        common: Sequence[bool] = (),
        balanced: bool = False,
        least: float = 0.0,
    ) -> Self:
        """Learn the columns' means and standard deviations.

        Args:
            X: (patients, columns).
            widths: columns of each block.
            common: for each block, whether its columns have the same unit and keep their variances relative to one
                another. Cells that lesions hardly ever reach would else count as much as those that they often destroy.
            balanced: give all blocks the same total variance.
            least: a column that is not zero in less than this fraction of the patients is left out, as is one that is
                not zero in fewer than three, or has one value only.
        """
        enough = (X != 0).sum(axis=0) >= max(_LEAST_PATIENTS, least * len(X))
        keep = np.flatnonzero(enough & (X.std(axis=0) > _SMALLEST_SD))
        scale = X[:, keep].std(axis=0)
        block = np.repeat(np.arange(len(widths)), widths)[keep]
        for index, shared in enumerate(common):
            if shared and (block == index).any():
                scale[block == index] = np.sqrt((scale[block == index] ** 2).mean())
        if balanced:
            scale = scale * np.sqrt(np.bincount(block, minlength=len(widths))[block])
        return cls(keep, X[:, keep].mean(axis=0), scale)

    def __call__(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standardised columns, (patients, columns kept)."""
        scaled: NDArray[np.float64] = (X[:, self.keep] - self.mean) / self.scale
        return scaled

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays that `from_arrays` takes."""
        return {"keep": self.keep, "mean": self.mean, "scale": self.scale}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the scaler of these arrays; KeyError where one is missing."""
        return cls(
            arrays["keep"].astype(np.int64), arrays["mean"].astype(float), arrays["scale"].astype(float)
        )


@dataclass(frozen=True, eq=False)
class Linear:
    """A weighted sum, with the coefficients (columns,) and the intercept (1,)."""

    coefficients: NDArray[np.float64]
    intercept: NDArray[np.float64]
    kind: ClassVar[str] = "linear"

    def __call__(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum for each row of (patients, columns)."""
        return X @ self.coefficients + self.intercept

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays that `from_arrays` takes."""
        return {"coefficients": self.coefficients, "intercept": self.intercept}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the function of these arrays."""
        return cls(arrays["coefficients"].astype(float), arrays["intercept"].astype(float))


@dataclass(frozen=True, eq=False)
class Kernel:
    """A sum of Gaussians around training patients.

    Attributes:
        vectors: (support vectors, columns).
        weights: (support vectors,).
        gamma: (1,) of exp(-gamma d²).
        intercept: (1,).
    """

    vectors: NDArray[np.float64]
    weights: NDArray[np.float64]
    gamma: NDArray[np.float64]
    intercept: NDArray[np.float64]
    kind: ClassVar[str] = "kernel"

    def __call__(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum for each row of (patients, columns)."""
        squared = (X**2).sum(axis=1)[:, None] + (self.vectors**2).sum(axis=1) - 2 * X @ self.vectors.T
        return np.exp(-self.gamma * np.maximum(squared, 0)) @ self.weights + self.intercept

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays that `from_arrays` takes."""
        return {
            "vectors": self.vectors,
            "weights": self.weights,
            "gamma": self.gamma,
            "intercept": self.intercept,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the function of these arrays."""
        return cls(*(arrays[name].astype(float) for name in ("vectors", "weights", "gamma", "intercept")))


@dataclass(frozen=True, eq=False)
class Trees:
    """A sum of decision trees, all nodes in one list.

    Attributes:
        feature: (nodes,) column that a node asks about; negative in a leaf.
        threshold: (nodes,) rows up to it go to `left`, others to `right`.
        left, right: (nodes,) indices of nodes.
        value: (nodes,) added in a leaf.
        roots: (trees,) indices of nodes.
        intercept: (1,).
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float64]
    roots: NDArray[np.int32]
    intercept: NDArray[np.float64]
    kind: ClassVar[str] = "trees"

    def __call__(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum for each row of (patients, columns)."""
        X = X.astype(np.float32)  # as scikit-learn compares
        node = np.repeat(self.roots[None], len(X), axis=0)
        rows = np.arange(len(X))[:, None]
        while (inner := self.feature[node] >= 0).any():
            lower = X[rows, np.maximum(self.feature[node], 0)] <= self.threshold[node]
            node = np.where(inner, np.where(lower, self.left[node], self.right[node]), node)
        return self.value[node].sum(axis=1) + self.intercept

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays that `from_arrays` takes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the function of these arrays."""
        whole = {"feature", "left", "right", "roots"}
        types = {field.name: np.int32 if field.name in whole else np.float64 for field in fields(cls)}
        typed: dict[str, Any] = {name: arrays[name].astype(dtype) for name, dtype in types.items()}
        return cls(**typed)

    @classmethod
    def of(
        cls, model: GradientBoostingRegressor | GradientBoostingClassifier, intercept: float, count: int
    ) -> Self:
        """Return the first trees of a fitted model of scikit-learn, whose first guess is the intercept."""
        trees = [one[0].tree_ for one in model.estimators_[:count]]
        roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1].astype(np.int32)

        def joined(name: str) -> NDArray[np.float64]:
            return np.concatenate([np.ravel(getattr(tree, name)) for tree in trees])

        starts = np.repeat(roots, [tree.node_count for tree in trees])
        return cls(
            joined("feature").astype(np.int32),
            joined("threshold").astype(float),
            (joined("children_left") + starts).astype(np.int32),
            (joined("children_right") + starts).astype(np.int32),
            joined("value") * model.learning_rate,
            roots,
            np.array([intercept]),
        )


KINDS: Final[Mapping[str, type[Linear] | type[Kernel] | type[Trees]]] = {
    one.kind: one for one in (Linear, Kernel, Trees)
}
"""By the name that model files hold."""


@dataclass(frozen=True)
class Learner:
    """A way to learn a function.

    Attributes:
        name: of it.
        settings: hyperparameters to choose from, by patients within the training folds alone.
        fit: returns a function for each of some settings, given standardised columns (patients, columns), outcomes
            (patients,), the settings and a seed.
    """

    name: str
    settings: tuple[Setting, ...]
    fit: Callable[[NDArray[np.float64], NDArray[np.float64], Sequence[Setting], int], list[Fitted]]


_RIDGE_ALPHAS: Final = tuple(float(alpha) for alpha in np.logspace(-2, 6, 25))

Columns: TypeAlias = NDArray[np.float64]


def _fit_ridge(X: Columns, y: Columns, settings: Sequence[Setting], seed: int) -> list[Fitted]:
    """Fit ridge regression; its strength is chosen by leaving one out, which costs nothing more."""
    model = RidgeCV(_RIDGE_ALPHAS).fit(X, y)
    return [Linear(np.ravel(model.coef_), np.ravel(model.intercept_).astype(float)) for _ in settings]


def _fit_pls(X: Columns, y: Columns, settings: Sequence[Setting], seed: int) -> list[Fitted]:
    """Fit partial least squares; the first components of many are those of few."""
    counts = [min(int(setting["components"]), X.shape[1], len(X) - 1) for setting in settings]
    model = PLSRegression(max(counts), scale=False).fit(X, y)
    found = []
    for count in counts:
        coefficients = model.x_rotations_[:, :count] @ model.y_loadings_[0, :count]
        found.append(Linear(coefficients, np.array([float(y.mean() - X.mean(axis=0) @ coefficients)])))
    return list(found)


def _fit_kernel(X: Columns, y: Columns, settings: Sequence[Setting], seed: int) -> list[Fitted]:
    """Fit support vector regression; gamma and epsilon are relative to the number of columns and the outcome's SD."""
    mean, sd = y.mean(), y.std() or 1.0
    found: list[Fitted] = []
    for setting in settings:
        gamma = setting["gamma"] / X.shape[1]
        model = SVR(C=setting["C"], gamma=gamma, epsilon=setting["epsilon"]).fit(X, (y - mean) / sd)
        intercept = model.intercept_[0] * sd + mean
        found.append(_expansion(model, sd, gamma, intercept))
    return found


def _fit_plain_svr(X: Columns, y: Columns, settings: Sequence[Setting], seed: int) -> list[Fitted]:
    """Fit scikit-learn's SVR as it is: C = 1, epsilon = 0.1, gamma = 1 / (columns × variance)."""
    gamma = 1 / (X.shape[1] * X.var())
    model = SVR(C=1.0, gamma=gamma, epsilon=0.1).fit(X, y)
    return [_expansion(model, 1.0, gamma, model.intercept_[0]) for _ in settings]


def _expansion(model: SVR, scale: float, gamma: float, intercept: float) -> Kernel:
    return Kernel(
        model.support_vectors_, model.dual_coef_[0] * scale, np.array([gamma]), np.array([intercept])
    )


_TREES: Final = {
    "learning_rate": 0.03,
    "max_depth": 3,
    "subsample": 0.5,
    "max_features": 0.3,
    "min_samples_leaf": 10,
}


def _fit_trees(X: Columns, y: Columns, settings: Sequence[Setting], seed: int) -> list[Fitted]:
    counts = [int(setting["trees"]) for setting in settings]
    model = GradientBoostingRegressor(n_estimators=max(counts), random_state=seed, **_TREES).fit(X, y)
    return [Trees.of(model, float(y.mean()), count) for count in counts]


def _fit_tree_classes(X: Columns, y: Columns, settings: Sequence[Setting], seed: int) -> list[Fitted]:
    counts = [int(setting["trees"]) for setting in settings]
    model = GradientBoostingClassifier(n_estimators=max(counts), random_state=seed, **_TREES).fit(X, y > 0.5)
    log_odds = float(np.log(y.mean() / (1 - y.mean())))
    return [Trees.of(model, log_odds, count) for count in counts]


def _span(X: Columns) -> Columns:
    """Return orthonormal columns that span the rows of a wide matrix, by the eigenvectors of its small square."""
    values, vectors = np.linalg.eigh(X @ X.T)
    kept = values > _SMALLEST_SD * values[-1]
    return np.asarray(X.T @ vectors[:, kept] / np.sqrt(values[kept]))


def _fit_logistic(X: Columns, y: Columns, settings: Sequence[Setting], seed: int) -> list[Fitted]:
    """Fit logistic regression; with more columns than patients in the space that the patients span, which is exact."""
    mean = X.mean(axis=0)
    basis = _span(X - mean) if X.shape[1] > len(X) else np.eye(X.shape[1])
    scores = (X - mean) @ basis
    found: list[Fitted] = []
    for setting in settings:
        model = LogisticRegression(C=setting["C"], max_iter=500).fit(scores, y > 0.5)
        coefficients = basis @ model.coef_[0]
        found.append(Linear(coefficients, model.intercept_.astype(float) - mean @ coefficients))
    return found


RIDGE: Final = Learner("ridge", ({},), _fit_ridge)
PLS: Final = Learner("PLS", tuple({"components": n} for n in (1, 2, 3, 4, 6)), _fit_pls)
KERNEL: Final = Learner(
    "support vectors",
    tuple({"C": C, "gamma": gamma, "epsilon": 0.2} for C in (0.5, 1.0, 2.0) for gamma in (0.06, 0.12, 0.25)),
    _fit_kernel,
)
PLAIN_SVR: Final = Learner("support vectors, default settings", ({},), _fit_plain_svr)
TREES: Final = Learner("gradient boosting", tuple({"trees": n} for n in (50, 100, 150, 200)), _fit_trees)
LOGISTIC: Final = Learner("logistic", tuple({"C": C} for C in (1e-3, 1e-2, 1e-1, 1.0)), _fit_logistic)
TREE_CLASSES: Final = Learner(
    "gradient boosting", tuple({"trees": n} for n in (40, 80, 120)), _fit_tree_classes
)
