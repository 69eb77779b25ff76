"""Training on synthetic images from a prepared folder, stopped and started again."""

from __future__ import annotations

import shutil
import threading

import pytest
import torch

from strokelabel.errors import OutputError, RecipeError
from strokelabel.fit.export import export_weights
from strokelabel.fit.loop.checkpoint import load_checkpoint
from strokelabel.fit.loop.record import read_metrics
from strokelabel.fit.recipe import load_recipe
from strokelabel.fit.train import describe_model, train_recipe
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.networks.weights import load_weights
from strokelabel.synthesis.prepared.dataset import PreparedData
from support.tiny_prepared import make_recipe, tiny_recipe


@pytest.fixture(scope="module")
def data(prepared_folder, tmp_path_factory):
    """The prepared folder, as yet without a cache of heads."""
    folder = tmp_path_factory.mktemp("session") / "prepared"
    shutil.copytree(prepared_folder, folder, ignore=shutil.ignore_patterns("heads*"))
    return PreparedData.load(folder)


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    """A run in one go, the first one on this data."""
    return train_recipe(make_recipe(), data, tmp_path_factory.mktemp("whole"), device="cpu")


def test_a_stopped_run_on_synthetic_images_ends_as_one_in_one_go(data, undisturbed, tmp_path):
    asked = []

    def after_three_steps():
        asked.append(True)
        return len(asked) > 3

    first = train_recipe(make_recipe(), data, tmp_path, device="cpu", should_stop=after_three_steps)
    assert (first.steps, first.stopped_by) == (3, "request")
    torch.rand(7)  # the global generator is elsewhere when the run goes on

    second = train_recipe(make_recipe(), data, tmp_path, device="cpu")

    assert second.metrics.read_text() == undisturbed.metrics.read_text()
    ours, expected = load_checkpoint(second.checkpoint), load_checkpoint(undisturbed.checkpoint)
    assert ours.step == expected.step == 6
    for key, value in expected.weights.items():
        assert torch.equal(ours.weights[key], value), key


def test_every_step_and_validation_of_a_run_is_on_record(undisturbed):
    rows = read_metrics(undisturbed.metrics)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in rows)
    assert [row["step"] for row in rows if row.get("validation_dice_mean") is not None] == [3, 6]
    assert undisturbed.finished and undisturbed.best_step in (3, 6)


def test_no_thread_is_left_behind(undisturbed):
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_a_run_of_no_time_stops_cleanly_and_keeps_its_schedule(data, tmp_path):
    result = train_recipe(make_recipe(), data, tmp_path, device="cpu", minutes=1e-9)
    assert (result.steps, result.stopped_by, result.finished) == (0, "time", False)
    assert load_checkpoint(result.checkpoint).config["steps"] == 6


def test_the_recipe_is_kept_with_its_training_as_it_was(undisturbed):
    assert load_recipe(undisturbed.metrics.parent / "recipe.yaml") == make_recipe()


def test_the_recipe_of_a_folder_survives_the_attempt_to_train_another_network_there(data, tmp_path):
    train_recipe(make_recipe(), data, tmp_path, device="cpu", minutes=1e-9)
    kept = (tmp_path / "recipe.yaml").read_bytes()
    other = make_recipe(network={"channels": [4, 6], "strides": [2]})
    with pytest.raises(RecipeError, match="train into another folder"):
        train_recipe(other, data, tmp_path, device="cpu")
    assert (tmp_path / "recipe.yaml").read_bytes() == kept


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(data, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/run"):
        train_recipe(make_recipe(), data, tmp_path / "file" / "run", device="cpu")


def test_another_seed_trains_another_network(data, undisturbed, tmp_path):
    other = train_recipe(make_recipe(seed=6), data, tmp_path, device="cpu")
    assert read_metrics(other.metrics)[0]["loss"] != read_metrics(undisturbed.metrics)[0]["loss"]


def test_a_trained_run_becomes_a_model_that_the_predictor_loads(undisturbed, tmp_path):
    recipe, path = make_recipe(), tmp_path / "tiny" / "model.safetensors"
    path.parent.mkdir()
    export_weights(undisturbed.metrics.parent, describe_model(recipe, path, "0.0.1", "CC0-1.0"), path)
    network, spec = load_weights(path)
    assert (spec.name, spec.version, spec.spacing_mm) == ("tiny", "0.0.1", 6.0)
    assert spec.field_of_view_mm == (192.0, 240.0, 216.0)
    assert spec.recipe["seed"] == 5
    assert network(torch.zeros(1, 1, 32, 40, 36)).shape == (1, 6, 32, 40, 36)
    assert Predictor.from_model(path, "cpu").spec.class_names[5] == "lesion"


@pytest.fixture(scope="module")
def exported(undisturbed, tmp_path_factory):
    """The weights of that run as a model file."""
    path = tmp_path_factory.mktemp("exported") / "model.safetensors"
    spec = describe_model(make_recipe(), path, "0.0.1", "Apache-2.0")
    export_weights(undisturbed.checkpoint, spec, path, dtype="float32")
    return path


def test_a_fresh_run_can_start_from_the_weights_of_a_model(data, exported, tmp_path):
    result = train_recipe(
        make_recipe(), data, tmp_path, device="cpu", weights=str(exported), should_stop=lambda: True
    )

    first = load_checkpoint(sorted(result.checkpoint.parent.glob("step-*.pt"))[0])
    trained, _ = load_weights(exported)
    assert first.step == 0
    for key, value in trained.state_dict().items():
        assert torch.equal(first.network[key], value), key


def test_a_model_of_other_classes_gives_all_but_the_layers_of_their_number(data, exported, tmp_path):
    network = tiny_recipe()["network"] | {"out_channels": 34}
    recipe = make_recipe(target="parcellation", network=network)
    result = train_recipe(
        recipe, data, tmp_path, device="cpu", weights=str(exported), should_stop=lambda: True
    )

    first = load_checkpoint(sorted(result.checkpoint.parent.glob("step-*.pt"))[0]).network
    trained = load_weights(exported)[0].state_dict()
    other = {key for key, value in trained.items() if not torch.equal(first[key], value)}
    assert other and all(first[key].shape != trained[key].shape for key in other)
    assert len(other) < len(trained) / 3


def test_weights_of_another_network_are_refused(data, exported, tmp_path):
    recipe = make_recipe()
    other = recipe.model_copy(update={"network": recipe.network.model_copy(update={"num_res_units": 2})})

    with pytest.raises(RecipeError, match="without --weights"):
        train_recipe(other, data, tmp_path, device="cpu", weights=str(exported))
