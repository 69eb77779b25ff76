"""The benchmark of pre-training: retrieval, scores, trainings that are not repeated, and its tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from strokelabel.labels import TissueClass
from support.benchmark_scripts import BENCHMARKS, imported

SHAPE = [16, 24, 16]


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with imported("pretraining") as module:
        yield module


@pytest.fixture(scope="module")
def downstream() -> Iterator[ModuleType]:
    with imported("pretraining_downstream") as module:
        yield module


def small_plan() -> dict[str, Any]:
    """The committed plan, with fewer of everything."""
    plan: dict[str, Any] = yaml.safe_load((BENCHMARKS / "pretraining.yaml").read_text())
    plan["pretraining"]["arms"] = ["seq-invariant"]
    plan["pretraining"]["changes"] |= {
        "network.channels": [4, 6, 8],
        "network.hidden": 8,
        "synthesis.shape": SHAPE,
        "synthesis.spacing_mm": 12.0,
        "pretraining.pool": 4,
        "validation.per_family": 1,
        "training.steps": 2,
        "training.batch_size": 2,
        "training.validate_every": 1,
    }
    plan["retrieval"] = {"heads": 3, "sets": 1}
    plan["downstream"]["images"] |= {"shape": SHAPE, "spacing_mm": 12.0, "train": 3, "test_per_family": 1}
    plan["downstream"] |= {"percent": [100], "seeds": 1}
    plan["downstream"]["training"]["steps"] = 1
    return plan


def test_the_whole_benchmark_runs_continues_and_fills_a_page(
    script: ModuleType, prepared_folder: Path, tmp_path: Path
) -> None:
    plan, page, output = tmp_path / "plan.yaml", tmp_path / "page.md", tmp_path / "out"
    plan.write_text(yaml.safe_dump(small_plan(), sort_keys=False))
    page.write_text("before\n<!-- results -->\n<!-- end of results -->\nafter\n")
    options = [str(plan), "--prepared", str(prepared_folder), "-o", str(output), "--document", str(page)]
    script.main(options)
    first = page.read_text()
    assert "| seq-invariant | 2 |" in first and "| random weights | 6 |" in first
    assert first.count("pre-trained, frozen") == 3 and "1 seeds, 9 trainings" in first
    stored = {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")}
    table = pd.read_csv(output / "downstream.csv")
    table.iloc[1:].to_csv(output / "downstream.csv", index=False)  # as after an interruption
    script.main(options)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")} == stored
    assert page.read_text() == first


def test_a_question_is_right_if_the_nearest_other_view_is_of_the_same_head(script: ModuleType) -> None:
    heads = torch.eye(3)
    assert script.top_1(torch.cat([heads, 5 * heads])) == [True] * 6
    swapped = torch.cat([heads, heads[[1, 0, 2]]])
    assert script.top_1(swapped) == [False, False, True] * 2


def test_the_peak_of_the_signal_is_the_range_of_the_true_image(downstream: ModuleType) -> None:
    true = torch.linspace(-2, 3, 100)
    assert downstream.psnr(true + 0.05, true) == pytest.approx(40, abs=1e-3)  # 20 log10(5 / 0.05)


def test_targets_of_the_tasks_are_the_tissues_without_lesions_or_the_lesion_alone(
    downstream: ModuleType,
) -> None:
    target = torch.arange(6, dtype=torch.uint8)
    assert int(TissueClass.LESION) == 5
    assert downstream.task_target(target, "tissues").tolist() == [0, 1, 2, 3, 4, 0]
    assert downstream.task_target(target, "lesion").tolist() == [0, 0, 0, 0, 0, 1]


def test_a_network_that_finds_the_noise_has_no_loss_and_one_that_finds_none_the_noise_s(
    downstream: ModuleType,
) -> None:
    true = torch.randn(2, 1, 3, 4, 5)
    batch = downstream.DenoisingBatch(true + 0.5, true)
    objective = downstream.DenoisingObjective()
    assert float(objective.loss(torch.full_like(true, 0.5), batch, 0)) == pytest.approx(0, abs=1e-9)
    assert float(objective.loss(torch.zeros_like(true), batch, 0)) == pytest.approx(0.25)


def test_a_part_of_the_images_is_the_same_for_every_start_and_another_for_another_seed(
    downstream: ModuleType, tmp_path: Path
) -> None:
    runs = downstream.Downstream(small_plan()["downstream"], None, tmp_path, {}, "cpu")
    runs.train_images = downstream.Images(torch.zeros(50, 1, 2, 2, 2), torch.zeros(50, 2, 2, 2))
    assert len(runs.part(10, 1)) == 5 and len(runs.part(1, 1)) == 1
    assert runs.part(10, 1) == runs.part(10, 1) != runs.part(10, 2)
    assert set(runs.part(1, 1)) <= set(runs.part(10, 1))
