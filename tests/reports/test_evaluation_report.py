"""Tables and pictures show what the scores are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from scipy import stats

from strokelabel.io import Image
from strokelabel.metrics.case import CaseMetrics, bring_together
from strokelabel.reports.evaluation.plots import grid_slice, worst_results, write_box_plots
from strokelabel.reports.evaluation.report import paired_tests, score_table, summary_table
from strokelabel.reports.evaluation.results import CaseResult
from strokelabel.reports.evaluation.tables import MAIN_COLUMNS, main_table, metric_table
from strokelabel.reports.evaluation.tables import comparison_table as comparisons
from support.bright_network import centred_affine, phantom
from support.evaluation_data import AFFINE, LESION_MM, SHAPE

METRICS = CaseMetrics(0.5, 10.0, 2.0, 1, 0.5, 0.6, 0.001, 12.0, 10.0, 1, 2)


def results(
    rng: np.random.Generator, methods: tuple[str, ...] = ("base", "my_model"), n: int = 12
) -> list[CaseResult]:
    return [
        CaseResult(
            f"sub-{case:02}_{group}",
            group,
            method,
            "done",
            replace(METRICS, dice=score, hd95_mm=50 * (1 - score)),
        )
        for case in range(n)
        for group in ("T1w", "FLAIR")
        for method in methods
        for score in [float(np.clip(rng.normal(0.4 + 0.3 * (method == "base"), 0.15), 0, 1))]
    ]


def test_the_summary_has_a_row_for_each_group_method_and_metric_and_all_together(
    rng: np.random.Generator,
) -> None:
    rows = results(rng)
    summary = summary_table(score_table(rows))
    assert len(summary) == 3 * 2 * 7
    own = [r.metrics.dice for r in rows if r.group == "FLAIR" and r.method == "base" and r.metrics]
    row = summary.set_index(["group", "method", "metric"]).loc[("FLAIR", "base", "dice")]
    assert (row["n"], row["mean"], row["median"]) == pytest.approx((12, np.mean(own), np.median(own)))
    interval = stats.ttest_1samp(own, 0).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert set(summary[summary["group"] == "all"]["n"]) == {24}


def test_tests_pair_the_cases_that_both_methods_scored_and_correct_for_their_number(
    rng: np.random.Generator,
) -> None:
    rows = results(rng, ("a", "b", "c"))
    rows[0] = replace(rows[0], status="failed", metrics=None)
    tests = paired_tests(score_table(rows)).set_index(["metric", "group", "first", "second"])
    row = tests.loc[("dice", "T1w", "a", "b")]
    assert row["n"] == 11
    scores = {
        m: [r.metrics.dice for r in rows[3:] if (r.group, r.method) == ("T1w", m) and r.metrics] for m in "ab"
    }
    assert row["wilcoxon_p"] == pytest.approx(stats.wilcoxon(scores["a"], scores["b"]).pvalue)
    assert row["t_p"] == pytest.approx(stats.ttest_rel(scores["a"], scores["b"]).pvalue)
    assert row["wilcoxon_p_bonferroni"] == pytest.approx(min(1, row["wilcoxon_p"] * 9))  # 3 pairs, 3 groups
    assert tests.loc[("lesion_f1", "T1w", "a", "b")]["t_p"] == 1  # never differ


def test_the_main_table_shows_median_mean_and_interval_with_the_best_in_bold(
    rng: np.random.Generator,
) -> None:
    summary = summary_table(score_table(results(rng)))
    lines = main_table(summary).markdown().splitlines()
    assert lines[2] == "| Modality | Method | n | Dice | HD95 (mm) |"
    best, other = lines[4:6]
    row = summary.set_index(["group", "method", "metric"]).loc[("T1w", "base", "dice")]
    shown = f"**{row['median']:.3f} / {row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]**"
    assert best.startswith(f"| T1w | base | 12 | {shown} | **")
    assert other.startswith("| T1w | my_model | 12 | ") and "**" not in other
    assert len(lines) == 4 + 6


def test_intervals_stay_within_what_a_metric_can_be_and_one_case_has_none() -> None:
    few = [CaseResult(str(d), "T1w", "m", "done", replace(METRICS, dice=d)) for d in (0.1, 0.9)]
    assert "[0.000, 1.000]" in main_table(summary_table(score_table(few))).markdown()
    one = main_table(summary_table(score_table(few[:1]))).markdown().splitlines()[-1]
    assert one == "| T1w | m | 1 | 0.100 / 0.100 | 10.0 / 10.0 |"


def test_an_undefined_score_is_a_dash() -> None:
    row = CaseResult("a", "T1w", "m", "done", replace(METRICS, tpr=float("nan")))
    table = metric_table(summary_table(score_table([row])), "mean")
    assert table.rows[0][-2].text == "–"
    assert table.rows[0][-1].text == "1.000"  # of a thousand


def test_latex_escapes_names_and_has_as_many_columns_as_titles(rng: np.random.Generator) -> None:
    scores = score_table(results(rng, ("base", "my_model & 50%")))
    for table in (main_table(summary_table(scores)), comparisons(paired_tests(scores))):
        latex = table.latex()
        assert r"my\_model \& 50\%" in latex
        rows = [line for line in latex.splitlines() if line.endswith(r"\\")]
        assert {line.replace(r"\&", "").count("&") for line in rows} == {len(table.heading) - 1}
        assert latex.count("{") == latex.count("}")


def test_nothing_scored_makes_empty_tables() -> None:
    scores = score_table([CaseResult("a", "T1w", "m", "failed")])
    assert main_table(summary_table(scores)).rows == ()
    assert isinstance(paired_tests(scores), pd.DataFrame)


def test_a_box_plot_is_written_for_every_metric(rng: np.random.Generator, tmp_path: Path) -> None:
    paths = write_box_plots(score_table(results(rng)), tmp_path, MAIN_COLUMNS)
    assert [path.name for path in paths] == ["boxplot-dice.png", "boxplot-hd95-mm.png"]
    assert all(imread(path).std() > 0.02 for path in paths)


def test_the_worst_cases_are_those_of_lowest_dice_and_of_these_the_largest_lesion(
    rng: np.random.Generator,
) -> None:
    rows = results(rng, ("base",))
    rows += [
        CaseResult(name, "T1w", "base", "done", replace(METRICS, dice=0.0, reference_ml=ml))
        for name, ml in (("small", 1.0), ("large", 90.0))
    ]
    names = [row.case for row in worst_results(rows, "base")]
    assert names[:2] == ["large", "small"]
    assert len(names) == 5


def test_a_slice_shows_the_scan_where_its_mask_is() -> None:
    image, ball = phantom(SHAPE, AFFINE, LESION_MM, 10.0)
    mask = Image(ball.astype(np.int32), AFFINE)
    masks = bring_together(mask, mask)
    level = int(masks.reference.sum(axis=(0, 1)).argmax())
    picture = grid_slice(image, masks.grid, level)
    inside = masks.reference[:, :, level]
    assert picture[inside].mean() > 250
    assert picture[~inside].mean() < 20
    far = Image(image.data, centred_affine(np.eye(3), SHAPE) + np.eye(4, k=3) * 400)
    assert grid_slice(far, masks.grid, level).max() == 0
