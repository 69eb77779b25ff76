"""`strokelabel train` as users call it, on a tiny prepared folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from strokelabel.cli import main as cli
from strokelabel.fit.export import export_weights
from strokelabel.fit.loop.checkpoint import load_checkpoint
from strokelabel.fit.loop.record import read_metrics
from strokelabel.fit.recipe import load_recipe
from strokelabel.fit.train import describe_model
from strokelabel.inference.parcellate import Parcellator
from support.tiny_prepared import tiny_recipe


@pytest.fixture(autouse=True)
def _keep_thread_count() -> Iterator[None]:
    """Training sets the number of threads; other tests should not feel it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def train(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", *map(str, arguments), "--device", "cpu"])
    return stop.value.code or 0


def test_a_fast_dev_run_of_the_base_recipe_trains_and_goes_on_from_its_checkpoint(
    prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("base", "--fast-dev-run", "--prepared", prepared_folder, "-o", tmp_path / "run")

    assert train(*command) == 0

    printed = capsys.readouterr()
    assert f"{tmp_path}/run: 2 of 2 steps, best lesion Dice 0." in printed.err
    newest = tmp_path / "run" / "checkpoints" / "step-00000002.pt"
    assert f"checkpoint {newest}" in printed.err
    record, weights = (tmp_path / "run" / "metrics.csv").read_text(), load_checkpoint(newest).weights
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 2

    newest.unlink()  # as if it had been killed after the first step
    assert train(*command) == 0

    assert (tmp_path / "run" / "metrics.csv").read_text() == record
    again = load_checkpoint(newest).weights
    assert all(torch.equal(again[key], value) for key, value in weights.items())
    assert train(*command) == 0, "nothing is left to do"


def test_a_recipe_file_trains_into_a_folder_of_its_name_for_as_long_as_it_may(
    prepared_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    content = tiny_recipe(name="mine")
    content["training"] |= {"steps": 1_000_000, "validate_every": 0}
    Path("recipe.yaml").write_text(yaml.safe_dump(content))

    assert train("recipe.yaml", "--prepared", prepared_folder, "--minutes", "0.01") == 0

    assert "of 1000000 steps, best lesion Dice none, checkpoint runs/mine/" in capsys.readouterr().err
    assert list(Path("runs/mine/checkpoints").glob("step-*.pt"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nonsense",), "error: No recipe 'nonsense': expected a YAML file or one of ['base'"),
        (("base", "--prepared", "nowhere"), "error: nowhere/dataset.json: expected prepared training data"),
    ],
)
def test_what_is_missing_is_one_line_and_exit_code_one(
    arguments: tuple[str, ...], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*arguments, "-o", tmp_path / "run") == 1
    error = capsys.readouterr().err.strip()
    assert error.splitlines()[-1].startswith(expected)
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_another_recipe_in_the_same_folder_is_refused(
    prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = tiny_recipe(training={"steps": 1, "threads": 1, "validate_every": 0})
    paths = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    paths[0].write_text(yaml.safe_dump(content))
    paths[1].write_text(yaml.safe_dump(content | {"network": {"channels": [4, 6], "strides": [2]}}))
    folders = ("--prepared", prepared_folder, "-o", tmp_path / "run")
    assert train(paths[0], *folders) == 0
    capsys.readouterr()
    assert train(paths[1], *folders) == 1
    assert "train into another folder" in capsys.readouterr().err


def test_a_recipe_whose_brains_are_not_prepared_names_pattern_and_brains(
    prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe(brains={"train": ["head-*"], "validation": ["brain-15"]})))
    assert train(path, "--prepared", prepared_folder, "-o", tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert "brains.train: 'head-*' matches none of the prepared label maps" in error and "'brain-17'" in error


def test_a_fast_dev_run_for_parcellation_ends_in_weights_that_name_structures(
    prepared_folder: Path, tmp_path: Path
) -> None:
    assert train("synthseg", "--fast-dev-run", "--prepared", prepared_folder, "-o", tmp_path / "run") == 0

    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row["step"] for row in rows] == [1, 2]
    assert all(0 <= row["validation_dice_mean"] <= 1 for row in rows)
    chosen = load_recipe(tmp_path / "run" / "recipe.yaml")
    spec = describe_model(chosen, tmp_path / "model.safetensors", "0.0.1", "CC0-1.0")
    written = export_weights(tmp_path / "run", spec, tmp_path / "model.safetensors")
    assert (written.task, written.class_ids[1], written.class_names[-1]) == (
        "parcellation",
        2,
        "right ventral DC",
    )
    parcellator = Parcellator.from_model(tmp_path / "model.safetensors", "cpu")
    assert [structure.id for structure in parcellator.structures] == list(written.class_ids)
