"""`strokelabel train contrast-squared`, and `strokelabel train --encoder` from its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from strokelabel.errors import RecipeError, WeightsError
from strokelabel.fit.loop.checkpoint import load_newest_checkpoint
from strokelabel.fit.pretraining.encoder import EncoderStart, check_encoder
from strokelabel.fit.recipe import Recipe, load_recipe
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.networks.contrastive import ContrastiveConfig, ContrastiveNetwork, encoder_settings
from strokelabel.networks.encoder import encoder_stages
from strokelabel.networks.unet import UNetConfig, build_network
from strokelabel.networks.weights import load_weights, make_network
from strokelabel.registry import PRETRAINING, read_spec
from support.command_line import run
from support.tiny_prepared import make_recipe, tiny_recipe

NETWORK: dict[str, Any] = {
    "architecture": "subpixel",
    "channels": [4, 6, 8],
    "strides": [2, 2],
    "dropout": 0.0,
}


def pretraining_recipe() -> dict[str, Any]:
    """A recipe that pre-trains in seconds."""
    content = tiny_recipe(
        task="pretraining",
        network={**NETWORK, "hidden": 8, "projection": 4, "cells": 2},
        pretraining={"reuse": 2, "pool": 4},
    )
    content["synthesis"] = {"shape": [16, 24, 16], "spacing_mm": 12.0, "contrast": {"model": "physics"}}
    return content


def segmentation_recipe(**network: Any) -> dict[str, Any]:
    """A segmentation with the same encoder."""
    return tiny_recipe(network={**NETWORK, **network}) | {
        "synthesis": {"shape": [16, 24, 16], "spacing_mm": 12.0}
    }


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def weights(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a short pre-training, exported."""
    folder = tmp_path_factory.mktemp("pretraining")
    recipe = write(folder / "tiny.yaml", pretraining_recipe())
    options = ("--prepared", prepared_folder, "-o", folder / "run", "--device", "cpu")
    assert run("train", recipe, *options) == 0
    path = folder / "encoder.safetensors"
    assert (
        run("export", folder / "run", "-o", path, "--recipe", folder / "run/recipe.yaml", "--version", "1")
        == 0
    )
    return path


def test_weights_are_exported_with_the_lowest_loss_in_validation(weights: Path) -> None:
    spec = read_spec(weights)
    assert (spec.task, spec.class_names) == (PRETRAINING, ("reconstruction",))
    rows = (weights.parent / "run/metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("validation_loss")
    losses = {
        int(row.split(",")[0]): float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]
    }
    assert len(losses) == 2
    assert spec.training_step == min(losses, key=losses.__getitem__)


def test_a_pretraining_that_was_stopped_ends_with_the_same_weights(
    prepared_folder: Path, tmp_path: Path
) -> None:
    content = pretraining_recipe()
    whole = write(tmp_path / "whole.yaml", content)
    options = ("--prepared", prepared_folder, "--device", "cpu")
    assert run("train", whole, *options, "-o", tmp_path / "whole") == 0
    assert run("train", whole, *options, "-o", tmp_path / "parts", "--minutes", "0.01") == 0
    assert run("train", whole, *options, "-o", tmp_path / "parts") == 0
    ends = [load_newest_checkpoint(tmp_path / name) for name in ("whole", "parts")]
    assert ends[0] is not None and ends[1] is not None and ends[0].step == ends[1].step == 6
    for name, value in ends[0].network.items():
        assert torch.equal(value, ends[1].network[name]), name


@pytest.mark.parametrize("frozen", [False, True])
def test_a_segmentation_starts_from_the_encoder(
    weights: Path, prepared_folder: Path, tmp_path: Path, frozen: bool
) -> None:
    recipe = write(tmp_path / "seg.yaml", segmentation_recipe())
    options = ["--prepared", prepared_folder, "-o", tmp_path / "run", "--device", "cpu", "--encoder", weights]
    assert run("train", recipe, *options, *(["--freeze-encoder"] if frozen else [])) == 0
    checkpoint = load_newest_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    network = build_network(UNetConfig.model_validate({**NETWORK}))
    network.load_state_dict(checkpoint.network)
    after = torch.nn.ModuleList(encoder_stages(network)).state_dict()
    before = load_weights(weights)[0].encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before) == frozen


def test_the_encoder_in_a_segmentation_sees_what_it_saw_before(weights: Path) -> None:
    recipe = Recipe.model_validate(segmentation_recipe(out_channels=6))
    network = make_network(recipe.network).eval()
    EncoderStart(weights, freeze=True).apply(network, recipe)
    pretrained, _ = load_weights(weights)
    assert isinstance(pretrained, ContrastiveNetwork)
    image = torch.randn(1, 1, 16, 24, 32)
    features = image
    for stage in encoder_stages(network):
        features = stage(features)
    torch.testing.assert_close(features, pretrained.coarsest_features(image), rtol=0, atol=0)
    trained = {name for name, value in network.named_parameters() if value.requires_grad}
    assert trained and not trained & {n for n, _ in network.named_parameters() if "downsamples" in n}


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ({"channels": [4, 6, 16]}, r"channels: .*8.* in the weights, .*16.* in the recipe"),
        ({"architecture": "plain"}, "architecture: subpixel in the weights, plain in the recipe"),
    ],
)
def test_other_settings_of_the_network_are_named(
    weights: Path, network: dict[str, Any], expected: str
) -> None:
    recipe = Recipe.model_validate(segmentation_recipe(**network))
    with pytest.raises(RecipeError, match=expected) as error:
        check_encoder(recipe, weights)
    assert error.value.source == str(weights)


def test_dropout_and_the_number_of_classes_may_differ(weights: Path) -> None:
    content = segmentation_recipe(dropout=0.3, out_channels=34)
    content |= {"target": "parcellation"}
    assert check_encoder(Recipe.model_validate(content), weights).task == PRETRAINING


def test_encoders_for_other_tasks_and_other_weights_as_encoders_are_refused(weights: Path) -> None:
    with pytest.raises(RecipeError, match=r"expected a segmentation .* got the task denoising"):
        check_encoder(load_recipe("denoiser"), weights)
    with pytest.raises(RecipeError, match="these are for segmentation; use --weights"):
        check_encoder(make_recipe(), "base")


def test_options_that_contradict_each_other_are_refused(
    weights: Path, prepared_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write(tmp_path / "seg.yaml", segmentation_recipe())
    options = ("--prepared", prepared_folder, "-o", tmp_path / "run", "--device", "cpu")
    assert run("train", recipe, *options, "--freeze-encoder") != 0
    assert "--encoder WEIGHTS" in capsys.readouterr().err
    assert run("train", recipe, *options, "--encoder", weights, "--weights", "base") != 0
    assert "got both" in capsys.readouterr().err


def test_prediction_refuses_an_encoder_and_says_what_it_is_for(weights: Path) -> None:
    with pytest.raises(WeightsError, match="for pretraining; use `strokelabel train --encoder`"):
        Predictor.from_model(weights, "cpu")


def test_a_written_recipe_keeps_the_settings_of_its_own_network() -> None:
    recipe = load_recipe("contrast-squared-cpu")
    assert isinstance(recipe.network, ContrastiveConfig) and recipe.network.cells > 1
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
    plain = load_recipe("base-3mm")
    assert type(Recipe.model_validate(plain.model_dump(mode="json")).network) is UNetConfig


@pytest.mark.parametrize("architecture", ["residual", "plain", "subpixel", "md", "md-encoder"])
def test_every_architecture_has_an_encoder_that_is_pretrained(architecture: str) -> None:
    config = ContrastiveConfig.model_validate({**NETWORK, "architecture": architecture, "hidden": 8})
    network = make_network(config).eval()
    image = torch.randn(2, 1, 16, 24, 32)
    found = network(image)
    assert found.projection.shape == (2, 128) and found.reconstruction.shape == image.shape
    whole = build_network(config.unet())
    torch.nn.ModuleList(encoder_stages(whole)).load_state_dict(network.encoder.state_dict())
    assert encoder_settings(config) == encoder_settings(config.unet())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pretraining": None}, "expected the sections `network` and `pretraining`"),
        ({"synthesis": {"contrast": {"model": "mixture"}}}, "expected physics for quantitative maps"),
        ({"training": {"batch_size": 1}}, "at least 2 subjects"),
        ({"network": {"out_channels": 2}}, "out_channels"),
        ({"pretraining": {"arm": "seq"}}, "pretraining.arm"),
    ],
)
def test_half_a_description_of_the_task_is_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    path = write(tmp_path / "mine.yaml", {"extends": "contrast-squared-cpu"} | changes)
    with pytest.raises(RecipeError, match=expected):
        load_recipe(path)
