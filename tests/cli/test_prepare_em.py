"""`strokelabel prepare --em`, and a model of another organ from images with a few labels to a prediction."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from strokelabel.cli import main as cli
from strokelabel.errors import RecipeError
from strokelabel.fit.recipe import Recipe, load_recipe
from strokelabel.fit.train import describe_model, make_synthesizer, train_recipe, with_data
from strokelabel.geometry.same_grid import is_same_grid
from strokelabel.io.images import read_image, read_label_image
from strokelabel.registry import read_spec
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.organ_phantom import LEFT, RIGHT, WALL, write_organs
from support.tiny_prepared import write_prepared

RECIPE = {
    "extends": "synthseg-em",
    "name": "heart",
    "brains": {"train": ["heart-0[123]*"], "validation": ["heart-04*"]},
    "network": {"channels": [6, 8, 10], "strides": [2, 2]},
    "synthesis": {"shape": [24, 28, 24], "spacing_mm": 4.0},
    "validation": {"per_family": 1},
    "training": {
        "steps": 4,
        "validate_every": 2,
        "checkpoint_every": 2,
        "threads": 1,
        "precision": "32-true",
    },
}


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, args)])
    return stop.value.code or 0


def recipe_file(folder: Path, **changes: object) -> Path:
    path = folder / "heart.yaml"
    path.write_text(yaml.safe_dump(RECIPE | changes))
    return path


@pytest.fixture(scope="module")
def organs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_organs(tmp_path_factory.mktemp("organs"))


@pytest.fixture(scope="module")
def prepared(organs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    assert run("prepare", "--em", organs, "-o", folder, "--background-clusters", 3, 4, "--seed", 1) == 0
    return folder


def test_a_heart_is_prepared_trained_and_predicted_with_its_own_numbers_and_names(
    organs: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, model = tmp_path / "runs", tmp_path / "heart" / "model.safetensors"
    recipe = recipe_file(tmp_path)
    assert run("train", recipe, "--prepared", prepared, "-o", runs, "--device", "cpu") == 0
    assert run("export", runs, "--recipe", runs / "recipe.yaml", "--version", "0.1.0", "-o", model) == 0
    spec = read_spec(model)
    assert spec.class_ids == (0, WALL, LEFT, RIGHT)
    assert spec.class_names == ("background", "wall", "left chamber", "right chamber")
    assert spec.network["out_channels"] == 4

    scan, out = organs / "heart-04.nii.gz", tmp_path / "out"
    capsys.readouterr()
    assert run("predict", scan, "-o", out, "--model", model, "--device", "cpu") == 0
    printed = capsys.readouterr()
    assert "brain" not in printed.out + printed.err and "skull" not in printed.out + printed.err
    found = read_label_image(out / "heart-04_parcellation_dseg.nii.gz")
    assert is_same_grid(found.grid, read_image(scan).grid)
    assert set(np.unique(found.data)) <= {0, LEFT, RIGHT, WALL}
    assert nib.load(out / "heart-04_parcellation_dseg.nii.gz").get_data_dtype() == np.uint16
    with (out / "heart-04_parcellation_dseg.tsv").open(newline="") as file:
        rows = {row["index"]: row["name"] for row in csv.DictReader(file, delimiter="\t")}
    assert rows == {"0": "background", "205": "wall", "420": "left chamber", "550": "right chamber"}
    header = (out / "heart-04_parcellation_volumes.tsv").read_text().splitlines()[0].split("\t")
    assert header == ["total", "wall", "left chamber", "right chamber"]
    assert run("predict", scan, "-o", out, "--model", model, "--device", "cpu") == 0
    assert "(kept from an earlier run)" in capsys.readouterr().out


def test_the_recipe_beside_the_checkpoints_has_the_structures_and_continues(
    prepared: Path, tmp_path: Path
) -> None:
    data = PreparedData.load(prepared)
    recipe = load_recipe(
        recipe_file(tmp_path, training=RECIPE["training"] | {"steps": 1, "validate_every": 0})
    )
    train_recipe(recipe, data, tmp_path / "run", device="cpu")
    kept = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert kept.structures == data.structures
    assert with_data(kept, data.structures) == kept
    assert train_recipe(kept, data, tmp_path / "run", device="cpu").steps == 1


def test_images_of_an_organ_can_be_looked_at(prepared: Path, tmp_path: Path) -> None:
    assert (
        run("synthesize", recipe_file(tmp_path), "--prepared", prepared, "--count", 1, "-o", tmp_path / "out")
        == 0
    )
    assert (tmp_path / "out" / "contact-sheet.png").exists()


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("lesion", {"count_weights": {0: 0.5, 1: 0.5}}, r"lesion.count_weights: expected \[0\]"),
        ("contrast", {"families": {"t1": 1.0}}, r"contrast.families: expected \['random'\]"),
        ("contrast", {"shared_mean_probability": 0.5}, "shared_mean_probability: expected 0"),
        ("contrast", {"model": "physics"}, "contrast.model: expected mixture"),
    ],
)
def test_what_clusters_cannot_give_is_refused(
    prepared: Path, tmp_path: Path, section: str, change: dict[str, object], message: str
) -> None:
    recipe = load_recipe(recipe_file(tmp_path, synthesis=RECIPE["synthesis"] | {section: change}))
    with pytest.raises(RecipeError, match=message):
        make_synthesizer(PreparedData.load(prepared), recipe, "train", recipe.synthesis, "cpu")


def test_tissues_are_refused_for_clusters(prepared: Path) -> None:
    recipe = load_recipe("base")
    with pytest.raises(
        RecipeError, match="target: expected parcellation for data of `strokelabel prepare --em`"
    ):
        make_synthesizer(PreparedData.load(prepared), recipe, "train", recipe.synthesis, "cpu")


def test_data_without_a_table_of_structures_are_refused(tmp_path: Path) -> None:
    data = PreparedData.load(write_prepared(tmp_path / "heads"))
    with pytest.raises(RecipeError, match="expected data with a table of structures"):
        train_recipe(load_recipe(recipe_file(tmp_path)), data, tmp_path / "run", device="cpu")


def test_a_model_is_not_described_before_its_structures_are_known(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"pass recipe\.yaml of the training folder"):
        describe_model(
            load_recipe(recipe_file(tmp_path)), tmp_path / "model.safetensors", "0.1.0", "Apache-2.0"
        )


def test_variants_of_one_image_are_not_in_training_and_validation(organs: Path, tmp_path: Path) -> None:
    assert (
        run("prepare", "--em", organs, "-o", tmp_path / "p", "--variants", 2, "--background-clusters", 2, 2)
        == 0
    )
    recipe = load_recipe(
        recipe_file(tmp_path, brains={"train": ["*_clusters-1"], "validation": ["*_clusters-2"]})
    )
    with pytest.raises(RecipeError, match=r"expected brains that are not in brains\.train"):
        train_recipe(recipe, PreparedData.load(tmp_path / "p"), tmp_path / "run", device="cpu")


def test_a_recipe_of_tissues_has_no_structures_of_the_data() -> None:
    content = json.loads(load_recipe("base").model_dump_json())
    with pytest.raises(
        ValueError, match="structure_table: expected synthseg, the target is not parcellation"
    ):
        Recipe.model_validate(content | {"structure_table": "data"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --brains and --lesions, or --em"),
        (["--em", "in", "--brains", "in"], "expected no --brains"),
        (["--brains", "in", "--lesions", "in", "--em-labels", "in"], "expected --em with --em-labels"),
        (["--em", "in", "--background-clusters", 5, 3], "the lower number first"),
        (["--em", "missing"], "expected a folder of images with label maps"),
        (["--em", "images", "--structures", "missing.tsv"], "missing.tsv: expected a tab-separated table"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list,
    message: str,
) -> None:
    (tmp_path / "in").mkdir()
    write_organs(tmp_path / "images", count=1)
    monkeypatch.chdir(tmp_path)
    assert run("prepare", *arguments, "-o", "out") in (1, 2)
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inside", ["", "brains"])
def test_a_file_in_place_of_the_output_is_named_before_any_work(
    organs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], inside: str
) -> None:
    output = tmp_path / "out"
    (output / inside).parent.mkdir(exist_ok=True)
    (output / inside).write_text("a file")
    capsys.readouterr()
    assert run("prepare", "--em", organs, "-o", output) == 1
    assert run("prepare", "--brains", organs, "--lesions", organs, "-o", output) == 1
    errors = capsys.readouterr().err
    assert errors.count("expected a folder to write to, found a file") == 2
    assert "Traceback" not in errors and (output / inside).read_text() == "a file"
