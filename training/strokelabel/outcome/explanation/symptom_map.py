"""Lesion-symptom mapping by support vectors, with a permutation test of the greatest value anywhere in the map.

Support vector regression of the outcome on the loads of all cells at once (Zhang et al. 2014); lesion size and age are
regressed out of both outcome and loads (DeMarco and Turkeltaub 2018). A map of one outcome is compared with maps of
shuffled outcomes, and a cell is significant if its value is greater than the greatest of any cell in 95 % of those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVR

from strokelabel.errors import DataError
from strokelabel.outcome.loads import FINE_MM, fine_loads, fine_shape
from strokelabel.outcome.predictors import Cohort
from strokelabel.synthesis.prepared.icbm import icbm_template

SIGNIFICANCE: Final = 0.05
"""Chance that a map without any true effect has a significant cell."""

LEAST_FRACTION: Final = 0.02
LEAST_PATIENTS: Final = 5
"""Cells that are injured in fewer patients are not tested."""

FEWEST_PERMUTATIONS: Final = 99
"""With fewer, the SD of the weights of shuffled outcomes is not known well."""

_PENALTY: Final = 1.0
_EPSILON: Final = 0.1
_LEAST_SD: Final = 0.02
"""Loads with a smaller SD are not scaled up to that of others."""

_FEWEST_PATIENTS: Final = 20


@dataclass(frozen=True, eq=False)
class SymptomMap:
    """Map of where damage goes with a worse outcome.

    Attributes:
        cells: indices of the tested cells of `loads.FINE_MM`.
        injured: (cells,) patients that are injured in each.
        z: (cells,) weight, in standard deviations of its weights for shuffled outcomes; positive where damage goes
            with a worse outcome.
        threshold: greatest z of shuffled outcomes in all but `SIGNIFICANCE` of them.
        p: of the greatest z anywhere, corrected for all cells.
        n: patients.
        permutations: how often outcomes were shuffled.
    """

    cells: NDArray[np.intp]
    injured: NDArray[np.intp]
    z: NDArray[np.float64]
    threshold: float
    p: float
    n: int
    permutations: int

    @property
    def significant(self) -> NDArray[np.bool_]:
        """True for cells that are significant, (cells,)."""
        return self.z > self.threshold


def symptom_map(
    cohort: Cohort,
    worse: NDArray[np.float64],
    permutations: int = 1000,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
) -> SymptomMap:
    """Map where damage goes with a worse outcome, beyond lesion size and age.

    Args:
        cohort: the patients.
        worse: (patients,) outcome, greater for worse.
        permutations: of the outcome.
        seed: of them.
        on_progress: called with the number of permutations that are done.

    Raises:
        DataError: there are too few patients or permutations, outcomes do not differ, or no cell is injured often.
    """
    _check(worse, permutations)
    cells, injured, loads = _often_injured(cohort)
    clean = _without_covariates(cohort)
    loads = (clean @ loads).astype(np.float32)
    loads /= np.maximum(loads.std(axis=0), _LEAST_SD)
    kernel = (loads @ loads.T).astype(np.float64)
    kernel *= len(kernel) / np.trace(kernel)
    outcome = clean @ worse
    outcome /= outcome.std()
    rng = np.random.default_rng(seed)
    duals = [_dual(kernel, outcome)]
    for done in range(1, permutations + 1):
        duals.append(_dual(kernel, rng.permutation(outcome)))
        on_progress(done)
    z = _standardised(np.stack(duals) @ loads)
    greatest = z[1:].max(axis=1)
    threshold = float(np.quantile(greatest, 1 - SIGNIFICANCE, method="higher"))
    p = float((1 + (greatest >= z[0].max()).sum()) / (1 + permutations))
    return SymptomMap(cells, injured, z[0], threshold, p, len(worse), permutations)


def _check(worse: NDArray[np.float64], permutations: int) -> None:
    if len(worse) < _FEWEST_PATIENTS or worse.std() == 0:
        raise DataError(
            f"expected at least {_FEWEST_PATIENTS} patients with different outcomes, found {len(worse)} with "
            f"{len(np.unique(worse))}; add patients"
        )
    if permutations < FEWEST_PERMUTATIONS:
        raise DataError(f"expected at least {FEWEST_PERMUTATIONS} permutations, got {permutations}")


def _often_injured(cohort: Cohort) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return the cells that are injured often enough, in how many patients, and their loads (patients, cells)."""
    raw = cohort.cells
    injured = (raw > 0).sum(axis=0)
    least = max(LEAST_PATIENTS, int(np.ceil(LEAST_FRACTION * len(raw))))
    cells = np.flatnonzero(injured >= least)
    if not len(cells):
        raise DataError(
            f"expected places that are injured in at least {least} of {len(raw)} patients, found none; add patients"
        )
    return cells, injured[cells].astype(np.intp), fine_loads(raw)[:, cells]


def _without_covariates(cohort: Cohort) -> NDArray[np.float64]:
    """Return the matrix that takes mean, lesion size and age out of a column of patients."""
    predictors = cohort.predictors()
    facts = predictors.matrix(("size", "age") if predictors.has(("age",)) else ("size",))
    varied = facts[:, facts.std(axis=0) > 0]
    columns = np.hstack([np.ones((len(facts), 1)), (varied - varied.mean(axis=0)) / varied.std(axis=0)])
    basis, _ = np.linalg.qr(columns)
    return np.asarray(np.eye(len(facts)) - basis @ basis.T)


def _dual(kernel: NDArray[np.float64], outcome: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the weight of each patient in the fitted function, (patients,)."""
    model = SVR(kernel="precomputed", C=_PENALTY, epsilon=_EPSILON).fit(kernel, outcome)
    weights = np.zeros(len(outcome), dtype=np.float32)
    weights[model.support_] = model.dual_coef_[0]
    return weights


def _standardised(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return weights (1 + permutations, cells) in SDs over all: the true outcome is treated as any other."""
    mean, sd = weights.mean(axis=0), weights.std(axis=0)
    return ((weights - mean) / np.maximum(sd, 1e-12)).astype(np.float64)


def cells_to_icbm(cells: NDArray[np.intp], values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return a value for each voxel of the ICBM grid, (x, y, z): that of its cell, or zero.

    Args:
        cells: indices of cells of `loads.FINE_MM`.
        values: of these cells.
    """
    full = np.zeros(fine_shape(), dtype=np.float32)
    full.reshape(-1)[cells] = values
    large = full.repeat(FINE_MM, axis=0).repeat(FINE_MM, axis=1).repeat(FINE_MM, axis=2)
    x, y, z = icbm_template().shape
    return np.ascontiguousarray(large[:x, :y, :z])
