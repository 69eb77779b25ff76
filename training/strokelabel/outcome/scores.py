"""Scores of predicted outcomes, and their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from strokelabel.metrics.calibration import reliability_curve
from strokelabel.metrics.statistics import CONFIDENCE

NOMINAL_COVERAGE: Final = 0.90
_RESAMPLES: Final = 2000
_CALIBRATION_BINS: Final = 10


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % confidence interval; NaN where not defined."""

    value: float
    low: float
    high: float


def correlation(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Return Pearson's R; 0 where the prediction is the same for all, NaN where the truth is."""
    if len(true) < 2 or true.std() == 0:
        return nan
    if predicted.std() < 1e-12 * max(1.0, float(np.abs(predicted).max())):
        return 0.0
    return float(np.corrcoef(predicted, true)[0, 1])


def regression_scores(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> dict[str, float]:
    """Return R and the mean absolute error."""
    return {"r": correlation(predicted, true), "mae": float(np.abs(predicted - true).mean())}


def classification_scores(probability: NDArray[np.float64], positive: NDArray[np.bool_]) -> dict[str, float]:
    """Return accuracy, balanced accuracy, AUC, F1 (at a probability of one half) and expected calibration error."""
    said = probability >= 0.5
    both = positive.any() and not positive.all()
    return {
        "accuracy": float((said == positive).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(positive, said)) if both else nan,
        "auc": float(roc_auc_score(positive, probability)) if both else nan,
        "f1": float(f1_score(positive, said, zero_division=0)),
        "calibration_error": reliability_curve(probability, positive, _CALIBRATION_BINS).expected_error,
    }


def corrected_interval(scores: NDArray[np.float64], test_fraction: float) -> Interval:
    """Return the mean of scores of repeated cross-validation with the corrected resampled t interval.

    Training sets overlap, so that the variance of the mean is 1/J + n_test/n_train times that of the scores instead of
    1/J (Nadeau & Bengio 2003; Bouckaert & Frank 2004 for repeated folds).

    Args:
        scores: of all J folds of all repeats; NaN is left out.
        test_fraction: n_test / n_train, 1 / (folds - 1).
    """
    found = scores[~np.isnan(scores)]
    if len(found) < 2:
        return Interval(float(found.mean()) if len(found) else nan, nan, nan)
    error = sqrt((1 / len(found) + test_fraction) * float(found.var(ddof=1)))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(found) - 1)) * error
    return Interval(float(found.mean()), float(found.mean()) - half, float(found.mean()) + half)


def corrected_p(differences: NDArray[np.float64], test_fraction: float) -> float:
    """Return the two-sided p that fold-wise differences between models are zero, by the corrected t test.

    Args:
        differences: of all folds of all repeats.
        test_fraction: n_test / n_train.
    """
    found = differences[~np.isnan(differences)]
    if len(found) < 2:
        return nan
    error = sqrt((1 / len(found) + test_fraction) * float(found.var(ddof=1)))
    if error == 0:
        return 1.0 if found.mean() == 0 else 0.0
    return float(2 * stats.t.sf(abs(float(found.mean())) / error, len(found) - 1))


def correlation_interval(
    predicted: NDArray[np.float64], true: NDArray[np.float64], seed: int = 0
) -> Interval:
    """Return R over all patients with an interval by resampling them.

    Args:
        predicted: (repeats, patients) out-of-fold predictions; R is the mean over repeats.
        true: (patients,).
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    samples = rng.integers(0, len(true), size=(_RESAMPLES, len(true)))
    found = [_mean_correlation(predicted[:, one], true[one]) for one in samples]
    low, high = np.nanpercentile(found, [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2])
    return Interval(_mean_correlation(predicted, true), float(low), float(high))


def _mean_correlation(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    return float(np.mean([correlation(one, true) for one in predicted]))


@dataclass(frozen=True)
class IntervalRule:
    """Prediction intervals by cross-conformal prediction.

    Residuals of patients whom their model had not seen, divided by a scale that grows with the prediction, because mild
    strokes vary less; the interval spans their quantiles, below and above by themselves, as residuals are skewed.

    Attributes:
        low, high: quantiles of the scaled residuals.
        floor: least value of the scale's argument; 0 gives intervals of the same width everywhere.
        least, most: possible outcomes, which intervals keep to.
    """

    low: float
    high: float
    floor: float
    least: float
    most: float

    @classmethod
    def fit(
        cls,
        predicted: NDArray[np.float64],
        true: NDArray[np.float64],
        *,
        growing: bool,
        limits: tuple[float, float],
        coverage: float = NOMINAL_COVERAGE,
    ) -> IntervalRule:
        """Learn the quantiles.

        Args:
            predicted: (patients,) out-of-fold predictions.
            true: (patients,).
            growing: whether intervals are wider where more is predicted.
            limits: least and greatest possible outcome.
            coverage: nominal.
        """
        floor = 1.0 if growing else 0.0
        scaled = np.sort((true - predicted) / _scale(predicted, floor))
        n, tail = len(scaled), (1 - coverage) / 2
        rank = min(
            int(np.ceil((1 - tail) * (n + 1))), n
        )  # of the upper quantile, corrected for the new patient
        return cls(float(scaled[n - rank]), float(scaled[rank - 1]), floor, *limits)

    def bounds(self, predicted: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the lower and upper end for each prediction, (patients,)."""
        scale = _scale(predicted, self.floor)
        low, high = (predicted + quantile * scale for quantile in (self.low, self.high))
        return np.clip(low, self.least, self.most), np.clip(high, self.least, self.most)


def _scale(predicted: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    return np.sqrt(np.maximum(predicted, floor)) if floor else np.ones_like(predicted)


def coverage(low: NDArray[np.float64], high: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Return the fraction of outcomes inside their intervals."""
    return float(((low <= true) & (true <= high)).mean())
