"""Cohort statistics are scipy's, and undefined scores are left out of them."""

from __future__ import annotations

from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strokelabel.metrics.statistics import bonferroni, paired_test, summarize

scores = st.lists(st.floats(0, 1, allow_subnormal=False), min_size=2, max_size=30)


@pytest.mark.filterwarnings("ignore:Precision loss")
@settings(max_examples=50, deadline=None)
@given(scores)
def test_the_interval_of_the_mean_is_scipys_t_interval(values: list[float]) -> None:
    found = summarize(values)
    result = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((result.low, result.high), abs=1e-9)
    assert (found.mean, found.median) == pytest.approx((np.mean(values), np.median(values)))
    assert found.sd == pytest.approx(np.std(values, ddof=1))


def test_undefined_scores_are_left_out_and_counted_out() -> None:
    assert summarize([0.2, nan, 0.4]) == summarize([0.2, 0.4])
    assert summarize([0.2, nan, 0.4]).n == 2
    one = summarize([0.3])
    assert (one.n, one.mean, one.median) == (1, 0.3, 0.3)
    assert isnan(one.sd) and isnan(one.low) and isnan(one.high)
    assert summarize([nan]).n == 0 and isnan(summarize([]).mean)


def test_paired_tests_are_scipys_over_the_pairs_that_are_whole(rng: np.random.Generator) -> None:
    first, second = rng.uniform(size=(2, 25))
    first[3], second[7] = nan, nan
    found = paired_test(first, second)
    whole = np.isfinite(first - second)
    assert found.n == 23
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(first[whole], second[whole]).pvalue)
    assert found.t_p == pytest.approx(stats.ttest_rel(first[whole], second[whole]).pvalue)
    assert found.mean_difference == pytest.approx((first - second)[whole].mean())


def test_models_that_never_differ_have_p_one_and_one_pair_has_none() -> None:
    same = paired_test([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    assert (same.wilcoxon_p, same.t_p) == (1, 1)
    assert isnan(paired_test([0.5], [0.4]).wilcoxon_p)
    assert paired_test([], []).n == 0


def test_bonferroni_multiplies_by_the_number_of_tests_that_were_made() -> None:
    corrected = bonferroni([0.01, nan, 0.2, 0.6])
    assert corrected[0] == pytest.approx(0.03)
    assert isnan(corrected[1])
    assert corrected[2:] == pytest.approx([0.6, 1.0])
