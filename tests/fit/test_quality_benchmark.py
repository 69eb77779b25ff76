"""The benchmark of quality control: one kind of error at a time, and a table for groups and kinds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

from strokelabel.fit.recipe import load_recipe
from support.tiny_quality import save_quality_model

RECIPE = {"extends": "synthseg-quality", "synthesis": {"shape": [24, 32, 24], "spacing_mm": 8.0}}


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The benchmark, imported as a person starts it: with its folder on the path."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "training" / "benchmarks"))
    import quality

    yield quality
    sys.path.pop(0)


def test_each_row_has_one_kind_of_error(script: ModuleType) -> None:
    config = load_recipe("synthseg-quality").segmentation_errors
    for kind in script.ERRORS:
        alone = script.only(config, {f"{kind}_probability": 1.0})
        given = {name: getattr(alone, f"{name}_probability") for name in ("correct", *script.ERRORS)}
        assert given == dict.fromkeys(given, 0.0) | {kind: 1.0}
        assert alone.moved == config.moved


def test_absent_groups_are_left_out_of_a_row(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    true = torch.tensor([[0.2, 0.8], [float("nan"), 0.9]])
    found = script.report("all", script.Scores(torch.tensor([[0.3, 0.6], [0.0, 0.9]]), true))
    (row,) = capsys.readouterr().out.splitlines()
    assert row.split(" | ")[2:] == ["0.100", "0.233", "100 %", "50 %", "3 |"]
    assert found == pytest.approx(0.924, abs=1e-3)


def test_a_run_prints_every_group_and_every_kind(
    script: ModuleType,
    prepared_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe, model = tmp_path / "coarse.yaml", tmp_path / "quality.safetensors"
    recipe.write_text(yaml.safe_dump(RECIPE))
    save_quality_model(model, spacing_mm=8.0)
    words = ["--prepared", prepared_folder, "--model", model, "--recipe", recipe, "--images", 2]
    monkeypatch.setattr(sys, "argv", ["quality.py", *map(str, words)])
    script.main()
    printed = capsys.readouterr().out
    assert all(f"\n| {name} |" in printed for name in ("brainstem", "all", *script.ERRORS))
    assert "accepted: " in printed
