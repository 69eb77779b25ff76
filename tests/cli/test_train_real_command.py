"""`strokelabel train` with recipes that need real scans, on the sample data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from strokelabel.cli import main as cli
from strokelabel.fit.loop.record import read_metrics
from strokelabel.fit.recipe import load_recipe
from strokelabel.fit.train import describe_model

SAMPLE_DATA = Path(__file__).parents[2] / "sample-data"


@pytest.fixture(autouse=True)
def _keep_thread_count() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def train(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", *map(str, arguments), "--device", "cpu"])
    return stop.value.code or 0


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training folder of the recipe `baseline`, with the cache of scans beside it."""
    folder = tmp_path_factory.mktemp("baseline")
    options = (
        "--fast-dev-run",
        "--real",
        SAMPLE_DATA,
        "--prepared",
        folder / "no-brains",
        "-o",
        folder / "run",
    )
    assert train("baseline", *options) == 0
    return folder


def test_the_baseline_trains_on_real_scans_without_any_label_maps(baseline: Path) -> None:
    rows = read_metrics(baseline / "run" / "metrics.csv")
    assert [row["step"] for row in rows] == [1, 2]
    assert all(0 <= row["validation_dice_mean"] <= 1 for row in rows)
    assert len(list((baseline / "no-brains" / "real").glob("*.safetensors"))) == 3


def test_the_baseline_s_model_has_two_classes_and_does_not_tell_where_it_was_trained(baseline: Path) -> None:
    recipe = load_recipe(baseline / "run" / "recipe.yaml")
    assert recipe.real is not None and recipe.real.folder == SAMPLE_DATA.resolve()
    spec = describe_model(recipe, baseline / "model.safetensors", "0.1.0", "CC0-1.0")
    assert spec.class_names == ("background", "lesion")
    assert str(SAMPLE_DATA) not in str(spec.to_metadata())


@pytest.mark.parametrize("recipe", ["synth+real", "qsynth+real"])
def test_real_and_synthetic_images_are_trained_on_together(
    recipe: str, prepared_folder: Path, tmp_path: Path
) -> None:
    options = ("--real", SAMPLE_DATA, "--prepared", prepared_folder, "-o", tmp_path / "run")
    assert train(recipe, "--fast-dev-run", *options) == 0
    assert load_recipe(tmp_path / "run" / "recipe.yaml").class_names[5] == "lesion"


@pytest.mark.parametrize("recipe", ["baseline", "synth+real"])
def test_a_recipe_that_needs_real_scans_says_how_to_name_them(
    recipe: str, prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(recipe, "--fast-dev-run", "--prepared", prepared_folder, "-o", tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert "name it with --real FOLDER" in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_real_scans_for_a_recipe_that_takes_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("base", "--fast-dev-run", "--real", SAMPLE_DATA, "-o", tmp_path / "run") == 1
    assert "has no section `real`" in capsys.readouterr().err


def test_a_folder_without_pairs_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert train("baseline", "--fast-dev-run", "--real", tmp_path / "empty", "-o", tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert "expected scans with lesion masks" in error and "Traceback" not in error
