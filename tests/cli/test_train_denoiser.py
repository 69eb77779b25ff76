"""`strokelabel train denoiser`: from prepared label maps and lesions to weights that `predict --adapt dae` takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from strokelabel.errors import RecipeError
from strokelabel.fit.data.recipe_streams import make_streams
from strokelabel.fit.fast_dev_run import shrink
from strokelabel.fit.recipe import load_recipe
from strokelabel.fit.train import make_objective
from strokelabel.registry import DENOISING, read_spec
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.command_line import run


@pytest.fixture(autouse=True)
def _keep_thread_count() -> object:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_shipped_recipe_trains_and_is_exported_with_its_task(
    prepared_folder: Path, tmp_path: Path
) -> None:
    folder, weights = tmp_path / "run", tmp_path / "denoiser" / "model.safetensors"
    weights.parent.mkdir()
    trained = run(
        "train", "denoiser", "--prepared", prepared_folder, "-o", folder, "--device", "cpu", "--fast-dev-run"
    )
    assert trained == 0
    exported = run("export", folder, "-o", weights, "--recipe", folder / "recipe.yaml", "--version", "1")
    assert exported == 0
    spec = read_spec(weights)
    assert (spec.task, spec.class_names[-1], len(spec.class_names)) == (DENOISING, "lesion", 6)


def test_validation_compares_the_given_maps_with_the_corrected_ones(
    prepared_folder: Path, tmp_path: Path
) -> None:
    recipe = shrink(load_recipe("denoiser"))
    streams = make_streams(recipe, PreparedData.load(prepared_folder), "cpu", tmp_path)
    objective = make_objective(recipe)
    batches = [streams.validation.batch(index) for index in range(len(streams.validation))]
    assert all(torch.equal(batch.image, streams.validation.batch(i).image) for i, batch in enumerate(batches))
    unchanged = [objective.item_scores(torch.log(batch.image + 0.01), batch) for batch in batches]
    perfect = [
        objective.item_scores(
            torch.nn.functional.one_hot(batch.target.long(), 6).permute(0, 4, 1, 2, 3).float(), batch
        )
        for batch in batches
    ]
    joined = [
        {name: torch.cat([s[name] for s in scores]) for name in scores[0]} for scores in (unchanged, perfect)
    ]
    same, right = (objective.summarize(scores) for scores in joined)
    assert (same["dice_gain"], same["dice_loss"]) == (0, 0)
    assert right["dice_mean"] == 1 and right["dice_gain"] > 0 and right["dice_loss"] == 0
    assert set(same) == set(objective.score_names)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"task": "segmentation"}, "no section `label_noise` or `predictions` with any other task"),
        (
            {"label_noise": None},
            "expected the sections `network` and `label_noise` or `predictions` with `task: denoising`",
        ),
        ({"network": {"classes": 2}}, "6 input channels and 6 output channels, got \\(2, 2\\)"),
        ({"label_noise": {"cubes": [5, 1]}}, "label_noise: cubes: expected|cubes: expected"),
        ({"replay": {"reuse": 2}}, "replay"),
    ],
)
def test_half_a_description_of_a_denoiser_is_refused(
    tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"extends": "denoiser"} | changes))
    with pytest.raises(RecipeError, match=expected):
        load_recipe(path)


def test_processes_that_make_images_are_refused(prepared_folder: Path, tmp_path: Path) -> None:
    recipe = shrink(load_recipe("denoiser"))
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"generators": 1})})
    with pytest.raises(RecipeError, match="expected 0 for the task denoising"):
        make_streams(recipe, PreparedData.load(prepared_folder), "cpu", tmp_path)
