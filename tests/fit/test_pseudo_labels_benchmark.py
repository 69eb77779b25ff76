"""The benchmark of pseudo-labels: its intervals, its table, and a run in which nothing is learnt."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy import stats

from strokelabel.fit.pseudo_labels.record import read_pseudo_labels
from strokelabel.io.atomic import atomic_write_json
from strokelabel.io.lesion_pairs import find_lesion_pairs, search_lesion_pairs
from strokelabel.synthesis.prepared.dataset import PreparedData, stable_split

BENCHMARKS = Path(__file__).parents[2] / "training" / "benchmarks"


@pytest.fixture(scope="module")
def scripts() -> Iterator[tuple[ModuleType, ModuleType]]:
    """The benchmark and its report, imported as a person starts them: with their folder on the path."""
    sys.path.insert(0, str(BENCHMARKS))
    import pseudo_label_report
    import pseudo_labels

    yield pseudo_labels, pseudo_label_report
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def plan() -> dict[str, Any]:
    """The plan that is committed, at a size that takes seconds; the gate lets everything through that it can."""
    content = yaml.safe_load((BENCHMARKS / "pseudo_labels.yaml").read_text())
    content["cohorts"] = {
        "annotated": 2, "unlabelled": 2, "test": 1, "least_ml": 0.0, "shape": [24, 28, 26], "spacing_mm": 8.0,
    }  # fmt: skip
    content["seeds"] = 1
    for arm in ("Synth", "Synth + pseudo"):
        del content["arms"][arm]
        content["pairs"].pop(arm, None)
    content["start"]["seconds"] = 0.0
    content["gate"] = dict.fromkeys(content["gate"], 0.0)
    content["common"]["network"]["channels"] = [4, 4, 4]
    content["common"]["synthesis"] |= {"shape": [16, 16, 16], "spacing_mm": 12.0}
    content["common"]["training"] |= {"precision": "32-true", "warmup_steps": 0}
    content["parts"]["real images"]["slabs"]["thickness_voxels"] = 16
    return content


def test_the_interval_over_cases_alone_is_student_s(scripts) -> None:
    values = np.random.default_rng(0).normal(0.1, 1, (12, 1))
    found = scripts[1].crossed_interval(values)
    expected = stats.t.interval(0.95, 11, values.mean(), stats.sem(values[:, 0]))
    assert (found.low, found.high) == pytest.approx(expected)


def test_the_interval_over_cases_and_seeds_covers_the_truth_as_often_as_it_says(scripts) -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(1500):
        values = rng.normal(0, 1, (15, 1)) + rng.normal(0, 0.3, (1, 3)) + rng.normal(0, 0.5, (15, 3))
        found = scripts[1].crossed_interval(values)
        covered.append(found.low <= 0 <= found.high)
    assert 0.93 < np.mean(covered) < 0.99


def test_a_subject_counts_once_however_many_sequences_it_has(scripts, tmp_path: Path) -> None:
    rows = [
        (arm, seed, group, f"sub-{case}_{group}", 0.5 + 0.1 * (arm == "with") + 0.01 * case, 5.0, 5.0)
        for arm in ("without", "with")
        for seed in (1, 2)
        for case in range(4)
        for group in ("T1w", "T2w")
    ]
    columns = ["arm", "seed", "group", "case", "dice", "reference_ml", "found_ml"]
    (tmp_path / "run").mkdir()
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "run" / "scores.csv", index=False)
    plan = {"arms": {"without": {}, "with": {}}, "pairs": {"with": "without"}}
    text = scripts[1].write_report([tmp_path / "run"], plan, tmp_path, "About.")
    assert "| simulated (n = 4) | T1w (n = 4) | T2w (n = 4) |" in text
    assert "| with | 2 | 0.615<br>+0.100 [+0.100, +0.100] |" in text
    assert (tmp_path / "pseudo-labels.png").exists() and len(pd.read_csv(tmp_path / "table.csv")) == 6


def test_all_arms_are_trained_and_scored_and_nothing_is_done_twice(
    scripts, plan: dict[str, Any], prepared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = scripts[0]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    words = [str(tmp_path / "plan.yaml"), "--prepared", str(prepared_folder), "-o", str(tmp_path / "out")]
    scans = [tmp_path / f"out/cohorts/unlabelled/sub-u0{n}/anat/sub-u0{n}_T1w.nii.gz" for n in (1, 2)]
    aligned = {"to_icbm": np.eye(4).tolist(), "similarity": 0.9}  # which takes 10 s a scan
    atomic_write_json(tmp_path / "out" / "alignments.json", {str(scan): aligned for scan in scans})
    threads = torch.get_num_threads()
    script.main([*words, "--seconds", "0"])
    table = pd.read_csv(tmp_path / "out" / "table.csv")
    assert set(table["arm"]) == set(plan["arms"]) and set(table["group"]) == {
        "simulated", "T1w", "T2w", "FLAIR",
    }  # fmt: skip
    drawn = read_pseudo_labels(tmp_path / "out" / "seed-1" / "pseudo-labels")
    pairs = find_lesion_pairs(tmp_path / "out" / "seed-1" / "annotated-and-pseudo").pairs
    assert len(pairs) == 2 + sum(label.trains() for label in drawn) > 2
    scores = sorted((tmp_path / "out").rglob("seed-1/*/scores.csv"))
    before = [path.stat().st_mtime_ns for path in scores]
    gone = scores.pop(0)
    gone.unlink()
    monkeypatch.setattr(script, "train_recipe", lambda *_, **__: pytest.fail("trained again"))
    script.main([*words, "--seconds", "0"])
    assert gone.exists() and [path.stat().st_mtime_ns for path in scores] == before[1:]
    torch.set_num_threads(threads)


def test_the_cohorts_share_no_lesion_and_the_unlabelled_one_has_no_masks(
    scripts, plan: dict[str, Any], prepared_folder: Path, tmp_path: Path
) -> None:
    data = PreparedData.load(prepared_folder)
    sizes = scripts[0].CohortSizes(**plan["cohorts"])
    cohorts = scripts[0].make_cohorts(data, sizes, 3, tmp_path)
    known = PreparedData.load(cohorts.prepared).lesions.names
    kept = [name for name in known if stable_split(name) == "train"]
    assert len(kept) == 2 < sum(stable_split(name) == "train" for name in data.lesions.names)
    assert [pair.subject for pair in find_lesion_pairs(cohorts.annotated).pairs] == ["sub-a01", "sub-a02"]
    search = search_lesion_pairs(cohorts.unlabelled)
    assert not search.pairs and len(search.images_alone) == 2
