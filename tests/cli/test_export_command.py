"""`strokelabel export`: the weights of a training run become a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from strokelabel.cli import main as cli
from strokelabel.fit.train import train_recipe
from strokelabel.registry import find_model
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.tiny_prepared import make_recipe, tiny_recipe


def export(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["export", *map(str, arguments)])
    return stop.value.code or 0


def test_a_model_with_its_recipe_is_written_from_a_training_folder(
    prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_recipe(training={"steps": 2, "validate_every": 1, "threads": 1})
    train_recipe(recipe, PreparedData.load(prepared_folder), tmp_path / "run", device="cpu")
    path = tmp_path / "models" / "tiny" / "model.safetensors"
    own = tmp_path / "run" / "recipe.yaml"

    code = export(tmp_path / "run", "-o", path, "--recipe", own, "--version", "0.0.1", "--newest")

    assert code == 0
    spec = find_model(path)
    assert (spec.name, spec.version, spec.training_step) == ("tiny", "0.0.1", 2)
    expected = recipe.model_dump(mode="json")
    del expected["training"]["mlflow"]  # where a run was recorded is nobody else's business
    assert spec.recipe == expected
    assert f"step 2, sha256 {spec.sha256}" in capsys.readouterr().err


def test_nothing_to_export_or_nowhere_to_write_is_one_line_and_exit_code_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(tiny_recipe()))
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for output in (tmp_path / "model.safetensors", tmp_path / "file" / "model.safetensors"):
        code = export(tmp_path / "empty", "-o", output, "--recipe", recipe, "--version", "1")
        error = capsys.readouterr().err
        assert code == 1 and error.startswith("error: ") and "Traceback" not in error
    assert not (tmp_path / "model.safetensors").exists()
