"""`strokelabel train` with the recipes of synthetic contrast at 1 mm, shortened to two steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from strokelabel.cli import main as cli
from strokelabel.fit.loop.record import read_metrics


@pytest.fixture(autouse=True)
def _keep_thread_count() -> Iterator[None]:
    """Training sets the number of threads; other tests should not feel it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("recipe", ["base-1mm", "synth", "qsynth"])
def test_a_fast_dev_run_trains_and_validates(
    recipe: str, prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", recipe, "--fast-dev-run", "--prepared", prepared_folder, "-o", tmp_path / "run"]

    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, arguments), "--device", "cpu"])

    assert not stop.value.code
    assert "2 of 2 steps, best lesion Dice 0." in capsys.readouterr().err
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert len(rows) == 2 and all(float(row["loss"]) > 0 for row in rows)
    assert ("model: physics" in (tmp_path / "run" / "recipe.yaml").read_text()) == (recipe == "qsynth")
