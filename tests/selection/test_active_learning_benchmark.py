"""The benchmark of strategies runs from end to end, continues where it stopped, and compares by seed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pandas as pd
import pytest

from support.new_contrast import quick_learner
from support.tiny_prepared import write_prepared

BENCHMARKS = Path(__file__).parents[2] / "training" / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("active_learning")
    for name in [name for name in sys.modules if name.startswith("active_learning")]:
        del sys.modules[name]


def test_a_quick_run_writes_scores_choices_summary_and_picture_and_is_not_repeated(
    benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared, output = write_prepared(tmp_path / "prepared"), tmp_path / "out"
    command = ["--quick", "--seeds", "1", "--prepared", str(prepared), "--model", str(quick_learner())]
    benchmark.main([*command, "-o", str(output)])
    scores, choices = pd.read_csv(output / "scores.csv"), pd.read_csv(output / "choices.csv")
    assert set(scores["strategy"]) == set(benchmark.STRATEGIES) == set(choices["strategy"])
    assert scores["dice"].between(0, 1).all() and set(scores["round"]) == {0, 1}
    summary = (output / "summary.md").read_text()
    assert "paired by seed" in summary and summary in capsys.readouterr().out
    assert (output / "active-learning.png").stat().st_size > 10_000
    written = (output / "seed-1" / "random-1.json").stat().st_mtime_ns
    benchmark.main([*command, "-o", str(output)])
    assert (output / "seed-1" / "random-1.json").stat().st_mtime_ns == written
    assert (output / "summary.md").read_text() == summary


def test_the_comparison_is_paired_by_seed(benchmark) -> None:
    report = importlib.import_module("active_learning_report")
    rows = [
        {"seed": seed, "strategy": strategy, "round": number, "chosen": [], "new": new, "dice": dice}
        for seed in (1, 2, 3)
        for strategy, gain in (("random", 0.0), ("uncertainty", 0.1))
        for number in (0, 1)
        for new in (True, False)
        for dice in [0.2 * seed + gain * number]
    ]
    table = pd.DataFrame(rows)
    difference = report.per_seed(table, "uncertainty", 1, "all") - report.per_seed(table, "random", 1, "all")
    assert difference.tolist() == pytest.approx([0.1, 0.1, 0.1])
