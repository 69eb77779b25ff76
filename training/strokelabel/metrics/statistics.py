"""Summary of a cohort's scores, and tests of the difference between models."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Final

import numpy as np
from scipy import stats

CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Summary:
    """Scores of a cohort; a score that is not defined (NaN) is left out.

    Attributes:
        n: number of scores.
        mean, median: of them; NaN without any.
        sd: standard deviation with n - 1; NaN below two.
        low, high: 95 % confidence interval of the mean by Student's t; NaN below two.
    """

    n: int
    mean: float
    median: float
    sd: float
    low: float
    high: float


def summarize(scores: Sequence[float] | np.ndarray) -> Summary:
    """Return the mean, median, standard deviation and the t interval of the mean."""
    values = _defined(scores)
    n = len(values)
    if n == 0:
        return Summary(0, nan, nan, nan, nan, nan)
    mean, median = float(values.mean()), float(np.median(values))
    if n == 1:
        return Summary(1, mean, median, nan, nan, nan)
    sd = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / float(np.sqrt(n))
    return Summary(n, mean, median, sd, mean - half, mean + half)


@dataclass(frozen=True)
class PairedTest:
    """Two models on the same cases.

    Attributes:
        n: cases with a score of both.
        mean_difference, median_difference: of first minus second.
        wilcoxon_p: two-sided p of Wilcoxon's signed-rank test; 1 where no pair differs, NaN below two pairs.
        t_p: likewise, of the paired t test.
    """

    n: int
    mean_difference: float
    median_difference: float
    wilcoxon_p: float
    t_p: float


def paired_test(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> PairedTest:
    """Test whether two models score differently on the same cases, two-sided.

    Args:
        first: scores of one model, in the order of the cases; NaN where there is none.
        second: scores of the other, in the same order.
    """
    differences = _defined(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))
    n = len(differences)
    if n == 0:
        return PairedTest(0, nan, nan, nan, nan)
    middle = float(differences.mean()), float(np.median(differences))
    if n == 1:
        return PairedTest(n, *middle, nan, nan)
    if not differences.any():
        return PairedTest(n, *middle, 1.0, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy remarks on ties, and on differences that are all the same
        wilcoxon = float(stats.wilcoxon(differences).pvalue)
        student = float(stats.ttest_1samp(differences, 0.0).pvalue)
    return PairedTest(n, *middle, wilcoxon, student)


def bonferroni(p_values: Sequence[float]) -> list[float]:
    """Return the p values times their number, at most 1; NaN, an undefined test, stays and does not count."""
    count = sum(not isnan(p) for p in p_values)
    return [p if isnan(p) else min(1.0, p * count) for p in p_values]


def _defined(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(scores, dtype=float)
    return values[~np.isnan(values)]
