"""Training of the robust mode: maps that the parcellation predicts, the true groups, and `strokelabel train`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from strokelabel.errors import RecipeError
from strokelabel.fit.data.recipe_streams import Streams, make_streams
from strokelabel.fit.denoising import DenoisingObjective
from strokelabel.fit.recipe import load_recipe
from strokelabel.fit.train import make_objective
from strokelabel.networks.weights import load_weights
from strokelabel.registry import DENOISING, read_spec
from strokelabel.structures import TISSUE_CLASSES, TISSUE_GROUPS, group_classes, parcellation_structures
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.command_line import run


@pytest.fixture(scope="module")
def streams(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Streams:
    """Those of the shipped recipe in a small field of view, three images for training."""
    recipe = load_recipe("synthseg-robust")
    assert recipe.predictions is not None
    changes = {
        "synthesis": recipe.synthesis.model_copy(update={"shape": (16, 24, 16)}),
        "predictions": recipe.predictions.model_copy(update={"images": 3}),
    }
    data = PreparedData.load(prepared_folder)
    return make_streams(recipe.model_copy(update=changes), data, "cpu", tmp_path_factory.mktemp("cache"))


def test_the_maps_are_what_the_parcellation_predicts_and_the_target_is_the_true_groups(
    streams: Streams,
) -> None:
    batch = streams.training.batch(0)
    assert batch.image.shape == (1, 6, 16, 24, 16)
    maps, image = batch.image[:, :5], batch.image[:, 5:]
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(1, 16, 24, 16))
    network, spec = load_weights("synthseg")
    with torch.inference_mode():
        predicted = torch.softmax(network(image) / spec.temperature, dim=1)[0]
    groups = torch.tensor(group_classes(parcellation_structures(), TISSUE_GROUPS))
    for number in range(5):
        expected = predicted[groups == number].sum(dim=0)
        torch.testing.assert_close(maps[0, number], expected, atol=0.02, rtol=0)  # float16 and 255 levels
    assert batch.target.dtype == torch.uint8 and 0 < batch.target.max() <= 4


def test_the_stream_replays_and_mirrors_images_of_the_first_round(streams: Streams) -> None:
    first = [streams.training.batch(step) for step in range(3)]
    assert torch.equal(streams.training.batch(1).image, first[1].image)
    mirrored = 0
    for step in range(3, 15):
        again, before = streams.training.batch(step), first[step % 3]
        if torch.equal(again.image, before.image):
            assert torch.equal(again.target, before.target)
        else:
            assert torch.equal(again.image, before.image.flip(2))
            assert torch.equal(again.target, before.target.flip(1))
            mirrored += 1
    assert 0 < mirrored < 12
    assert not torch.equal(streams.validation.batch(0).image, first[0].image)
    assert torch.equal(streams.validation.batch(0).image, streams.validation.batch(0).image)


def test_the_shipped_recipe_trains_and_is_exported_with_its_task(
    prepared_folder: Path, tmp_path: Path
) -> None:
    folder, weights = tmp_path / "run", tmp_path / "robust" / "model.safetensors"
    weights.parent.mkdir()
    given = ("--prepared", prepared_folder, "-o", folder, "--device", "cpu", "--fast-dev-run")
    assert run("train", "synthseg-robust", *given) == 0
    assert run("export", folder, "-o", weights, "--recipe", folder / "recipe.yaml", "--version", "1") == 0
    spec = read_spec(weights)
    assert (spec.task, spec.class_names, spec.class_ids) == (DENOISING, TISSUE_CLASSES, ())
    assert isinstance(make_objective(load_recipe("synthseg-robust")), DenoisingObjective)
    with (folder / "metrics.csv").open() as file:
        assert "validation_dice_gain" in file.readline()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"predictions": None}, "expected the sections `network` and `label_noise` or `predictions`"),
        ({"label_noise": {}}, "expected the sections `network` and `label_noise` or `predictions`"),
        ({"network": {"images": 0}}, "6 input channels and 5 output channels"),
        ({"target": "tissues", "lesion_target": "class"}, "expected parcellation, of SynthSeg's structures"),
        ({"predictions": {"images": 0}}, "images"),
    ],
)
def test_half_a_description_of_the_task_is_refused(
    tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"extends": "synthseg-robust"} | changes))
    with pytest.raises(RecipeError, match=expected):
        load_recipe(path)


def test_another_voxel_size_than_the_parcellations_is_refused(prepared_folder: Path, tmp_path: Path) -> None:
    recipe = load_recipe("synthseg-robust")
    synthesis = recipe.synthesis.model_copy(update={"spacing_mm": 6.0})
    with pytest.raises(RecipeError, match="expected that of the model 'synthseg', 3, got 6"):
        make_streams(
            recipe.model_copy(update={"synthesis": synthesis}),
            PreparedData.load(prepared_folder),
            "cpu",
            tmp_path,
        )
