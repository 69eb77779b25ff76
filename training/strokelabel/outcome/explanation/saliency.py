"""Saliency of a network in ICBM space: which painted lesion moves the network's answer, averaged over patients.

The gradient of the logit with respect to the picture, averaged on the way from the template without a lesion to the
picture (integrated gradients, Sundararajan et al. 2017) and multiplied by what the lesion changed. Every patient's map
is of a network that was not trained on that patient. Chance is what networks of shuffled outcomes look at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from strokelabel.outcome.explanation.symptom_map import SIGNIFICANCE
from strokelabel.outcome.networks.specs import NetworkSpec
from strokelabel.outcome.networks.training import FittedNetwork, fit_network
from strokelabel.outcome.protocol import make_folds
from strokelabel.outcome.scores import classification_scores

SALIENCY_FOLDS: Final = 4
_STEPS: Final = 8
_BATCH: Final = 64


@dataclass(frozen=True, eq=False)
class Painted:
    """Painted lesions that a network sees.

    Attributes:
        ids: of the patients.
        pictures: (patients, rows, columns).
        facts: (patients, facts).
        template: (rows, columns) picture without a lesion.
    """

    ids: tuple[str, ...]
    pictures: NDArray[np.float32]
    facts: NDArray[np.float32]
    template: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Saliency:
    """Saliency of a network in its pictures.

    Attributes:
        mean: (rows, columns) mean over patients of the change of the logit towards the worse class; sums to about the
            mean change that lesions make.
        threshold: greatest value of networks of shuffled outcomes in all but `SIGNIFICANCE` of them; NaN without.
        p: of the greatest value anywhere, corrected for all pixels; NaN without shuffled outcomes.
        auc: of the networks for patients that they did not see.
        permutations: how often outcomes were shuffled.
    """

    mean: NDArray[np.float64]
    threshold: float
    p: float
    auc: float
    permutations: int


def network_saliency(
    spec: NetworkSpec,
    painted: Painted,
    worse: NDArray[np.bool_],
    permutations: int = 19,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Saliency:
    """Train networks on folds of patients, and average the saliency of the patients that each did not see.

    Args:
        spec: of the network.
        painted: the patients.
        worse: (patients,) the class that saliency points to.
        permutations: networks are trained again on outcomes shuffled so often; 0 for no test.
        seed: of folds, weights and permutations.
        on_progress: called with the number of maps that are done, permutations + 1 in all.

    Raises:
        DataError: there are too few patients, or of one class only.
    """
    rng = np.random.default_rng(seed)
    mean, auc = _unseen_saliency(spec, painted, worse, seed)
    on_progress(1)
    greatest = []
    for number in range(1, permutations + 1):
        by_chance, _ = _unseen_saliency(spec, painted, rng.permutation(worse), seed + number)
        greatest.append(float(by_chance.max()))
        on_progress(number + 1)
    if not greatest:
        return Saliency(mean, np.nan, np.nan, auc, 0)
    threshold = float(np.quantile(greatest, 1 - SIGNIFICANCE, method="higher"))
    p = float((1 + (np.array(greatest) >= mean.max()).sum()) / (1 + permutations))
    return Saliency(mean, threshold, p, auc, permutations)


def _unseen_saliency(
    spec: NetworkSpec, painted: Painted, worse: NDArray[np.bool_], seed: int
) -> tuple[NDArray[np.float64], float]:
    """Return the mean saliency (rows, columns) and the AUC, both of patients left out of the training."""
    folds = make_folds(painted.ids, SALIENCY_FOLDS, seed, worse)
    total, probability = np.zeros(painted.template.shape), np.empty(len(worse))
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        seen, facts = painted.pictures, painted.facts
        fitted = fit_network(spec.build, seen[train], facts[train], worse[train], spec.schedule, seed)
        total += integrated_gradients(fitted, seen[test], painted.template, facts[test]).sum(axis=0)
        probability[test] = fitted.predict(seen[test], facts[test])
    return total / len(worse), classification_scores(probability, worse)["auc"]


def integrated_gradients(
    fitted: FittedNetwork,
    pictures: NDArray[np.float32],
    template: NDArray[np.float32],
    facts: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return each pixel's part in the change of the logit from template to picture, (patients, rows, columns)."""
    start, found = torch.from_numpy(template), []
    for picture, fact in zip(
        torch.from_numpy(pictures).split(_BATCH), torch.from_numpy(facts).split(_BATCH), strict=True
    ):
        change, gradient = picture - start, torch.zeros_like(picture)
        for step in range(_STEPS):
            point = (start + (step + 0.5) / _STEPS * change).requires_grad_()
            gradient += torch.autograd.grad(fitted.logits(point, fact).sum(), point)[0]
        found.append((gradient / _STEPS * change).numpy())
    return np.concatenate(found).astype(np.float64)
