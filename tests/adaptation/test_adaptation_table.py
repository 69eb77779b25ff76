"""The table of adaptations: its cohorts, its statistics, and a run that is stopped and given again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from strokelabel.registry import read_spec
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.new_contrast import small_model
from support.tiny_denoiser import save_denoiser

BENCHMARKS = Path(__file__).parents[2] / "training" / "benchmarks"
METHODS = ("none", "tta", "tent", "dae", "pl")


@pytest.fixture(scope="module")
def scripts() -> Iterator[tuple[ModuleType, ModuleType, ModuleType]]:
    """The benchmark, its cohorts and its report, imported as a person starts them: with their folder on the path."""
    sys.path.insert(0, str(BENCHMARKS))
    import adaptation_cohort
    import adaptation_table
    import adaptation_table_report

    yield adaptation_table, adaptation_cohort, adaptation_table_report
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def plan() -> dict[str, Any]:
    """The plan that is committed, at a size that takes seconds."""
    content = yaml.safe_load((BENCHMARKS / "adaptation_table.yaml").read_text())
    sizes = {"unlabelled": 1, "test": 1, "least_ml": 0.0, "shape": [24, 28, 26], "spacing_mm": 8.0}
    small = {"cohorts": sizes, "models": {"small": str(small_model())}, "iterations": 2, "steps": 1}
    return content | small | {"methods": list(METHODS)}


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose voxels are those of the small model."""
    spacing = read_spec(small_model()).spacing_mm
    return save_denoiser(tmp_path_factory.mktemp("denoiser") / "model.safetensors", spacing_mm=spacing)


@pytest.fixture(scope="module")
def finished(
    scripts, plan: dict[str, Any], prepared_folder: Path, denoiser: Path, tmp_path_factory
) -> tuple[Path, list[str]]:
    """The folder of a run, and the words that it was started with; at first without one of the methods."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    words = [str(folder / "plan.yaml"), "--prepared", str(prepared_folder), "-o", str(folder / "out")]
    words += ["--denoiser", str(denoiser)]
    threads = torch.get_num_threads()
    scripts[0].main([*words, "--methods", "none,pl"])
    scripts[0].main(words)
    torch.set_num_threads(threads)
    return folder / "out", words


def test_every_method_scores_every_sequence_their_ensemble_and_unseen_contrasts(
    finished: tuple[Path, list[str]],
) -> None:
    scores = pd.read_csv(finished[0] / "scores.csv")
    assert set(scores["method"]) == set(METHODS)
    groups = ["T1w", "T2w", "FLAIR", "dwi", "ensemble", "ct-like", "low-field"]
    for _, own in scores.groupby("method"):
        assert list(own["group"]) == groups
    adapted = scores[scores["kept"].notna()]
    assert set(adapted["method"]) == {"tent", "dae"} and "ensemble" not in set(adapted["group"])
    text = (finished[0] / "table.md").read_text()
    assert "TENT lowered its objective in" in text and "**small**" in text
    assert (finished[0] / "adaptation-table.png").exists()


def test_what_is_scored_is_not_scored_again(
    scripts, finished: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = finished[0] / "scores.jsonl"
    before = rows.read_text()
    assert len(before.splitlines()) == 7 * len(METHODS)
    monkeypatch.setattr(scripts[0], "judged", lambda *_: pytest.fail("scored again"))
    threads = torch.get_num_threads()
    scripts[0].main(finished[1])
    torch.set_num_threads(threads)
    assert rows.read_text() == before


def test_the_scans_of_a_subject_show_one_lesion_on_one_grid(
    scripts, plan: dict[str, Any], finished: tuple[Path, list[str]], prepared_folder: Path
) -> None:
    sizes = scripts[0].CohortSizes(**plan["cohorts"])
    data = PreparedData.load(prepared_folder)
    cohorts = scripts[1].make_cohorts(data, sizes, plan["seed"], finished[0] / "cohorts")
    for cohort in cohorts:
        (subject,) = cohort.subjects
        scans = [nib.load(cohort.scan("sequences", subject, suffix)) for suffix in scripts[1].SEQUENCES]
        masks = [nib.load(cohort.mask(name, subject)) for name in scripts[1].DATASETS]
        for image in (*scans, *masks):
            np.testing.assert_allclose(image.affine, masks[0].affine)
            assert image.shape == (24, 28, 26)
        first, *others = (np.asarray(mask.dataobj) for mask in masks)
        for other in others:
            assert np.count_nonzero(first != other) <= 0.1 * np.count_nonzero(first)
    assert scripts[1].make_cohorts(data, sizes, plan["seed"], finished[0] / "cohorts") == cohorts


def test_differences_are_paired_and_corrected_for_their_number(scripts) -> None:
    rng = np.random.default_rng(0)
    plain = rng.uniform(0.3, 0.6, 24)
    rows = [
        {"model": "base", "method": method, "group": group, "unit": f"sub-{case}", "dice": plain[case] + gain}
        for method, shift, spread in (("none", 0, 0), ("tta", 0.1, 0.01), ("tent", 0, 0.05))
        for group in ("T1w", "ct-like")
        for case, gain in enumerate(rng.normal(shift, spread, 24))
    ]
    found = {(row["method"], row["group"]): row for row in scripts[2].table_rows(pd.DataFrame(rows))}
    better = found["tta", "ct-like"]
    assert better["n"] == 24 and better["low"] < 0.1 < better["high"]
    assert better["p_bonferroni"] == pytest.approx(4 * better["p"]) and better["p_bonferroni"] < 0.05
    assert found["tent", "T1w"]["p_bonferroni"] > 0.05 and "difference" not in found["none", "T1w"]
    table = scripts[2].markdown(list(found.values()))
    assert r"\*" in next(line for line in table.splitlines() if line.startswith("| TTA"))
    assert r"\*" not in next(line for line in table.splitlines() if line.startswith("| TENT"))


def test_an_unknown_method_is_refused(scripts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.yaml").write_text(json.dumps({"methods": ["magic"]}))
    with pytest.raises(SystemExit):
        scripts[0].main([str(tmp_path / "plan.yaml")])
    assert "expected methods of none, tta" in capsys.readouterr().err
