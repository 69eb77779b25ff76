"""The benchmark of the robust mode: both modes see the same hard scans, and a run is not repeated."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from strokelabel.fit.recipe import load_recipe
from support.benchmark_scripts import imported
from support.sided_network import save_sided_model
from support.tiny_prepared import write_prepared


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with imported("robust") as module:
        yield module


def test_both_modes_are_scored_on_the_same_scans_and_no_scan_twice(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = write_prepared(tmp_path / "prepared", voxel_mm=4.0)
    recipe = load_recipe("synthseg").model_dump(mode="json")
    weights = save_sided_model(tmp_path / "sided.safetensors", recipe=recipe, spacing_mm=4.0)
    given = ["robust.py", str(weights), "--prepared", str(prepared), "-o", str(tmp_path / "out")]
    given += ["--brains", "brain-15", "--draws", "1", "--spacing-mm", "4", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", given)
    script.main()
    printed = capsys.readouterr().out
    assert "| plain | 4 |" in printed and "| robust | 4 |" in printed and "Robust less plain" in printed
    scores = pd.read_csv(tmp_path / "out/scores.csv")
    assert set(scores["mode"]) == {"plain", "robust"} and scores["scan"].nunique() == 4
    truth = scores.pivot(index=["scan", "structure"], columns="mode", values="true_ml")
    assert (truth["plain"] == truth["robust"]).all()
    script.main()
    assert "mean Dice plain" not in capsys.readouterr().out
