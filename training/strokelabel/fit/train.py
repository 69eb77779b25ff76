"""Training from a recipe and a prepared folder to a model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from strokelabel.errors import RecipeError
from strokelabel.fit.config import TrainingConfig
from strokelabel.fit.data.recipe_streams import (
    Streams,
    make_streams,
    make_synthesizer,
    part_brains,
    split_lesions,
)
from strokelabel.fit.denoising import DenoisingObjective
from strokelabel.fit.loop.checkpoint import list_checkpoints
from strokelabel.fit.loop.devices import process_count, resolve_device
from strokelabel.fit.loop.objective import Objective
from strokelabel.fit.loop.prefetch import PrefetchStream
from strokelabel.fit.loop.progress import TrainingProgress
from strokelabel.fit.loop.training_loop import TrainingResult, train
from strokelabel.fit.pretraining.encoder import EncoderStart
from strokelabel.fit.pretraining.objective import PretrainingObjective
from strokelabel.fit.quality import QualityObjective
from strokelabel.fit.recipe import Recipe, load_recipe
from strokelabel.fit.segmentation import SegmentationObjective
from strokelabel.io.atomic import atomic_write_text
from strokelabel.networks.weights import load_weights, make_network, network_config
from strokelabel.registry import PARCELLATION, ModelSpec, find_model
from strokelabel.structures import Structure, structure_rows
from strokelabel.synthesis.prepared.dataset import PreparedData


def make_objective(recipe: Recipe) -> Objective[Any]:
    """Make the objective of a recipe's network: quantitative maps, correct label maps, Dice, or classes.

    Raises:
        UnknownModelError, WeightsError: the model that a perceptual loss looks with is not there.
    """
    if recipe.estimation is not None:
        return recipe.estimation.objective()
    if recipe.task == "denoising":
        return DenoisingObjective.from_config(recipe.training, len(recipe.class_names), recipe.lesion_class)
    if recipe.segmentation_errors is not None:
        return QualityObjective()
    if recipe.pretraining is not None:
        return PretrainingObjective(recipe.pretraining)
    return SegmentationObjective.from_config(recipe.training, len(recipe.class_names), recipe.lesion_class)


__all__ = ["describe_model", "make_synthesizer", "part_brains", "split_lesions", "train_recipe", "with_data"]

_PRIVATE: Any = {
    "real": {"folder", "masks"},
    "pseudo_labels": {"folder"},
    "maps": {"folder"},
    "training": {"mlflow"},
}
"""Keys of a recipe that describe the machine, which published weights must not contain."""


def train_recipe(  # noqa: PLR0913
    recipe: Recipe,
    data: PreparedData | None,
    folder: Path,
    *,
    device: str = "auto",
    minutes: float | None = None,
    weights: str | None = None,
    encoder: EncoderStart | None = None,
    cache: Path | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    on_open: Callable[[Streams, TrainingConfig], TrainingConfig] | None = None,
) -> TrainingResult:
    """Train the recipe's network, going on from where `folder` stopped.

    Args:
        recipe: what to train, and on what.
        data: prepared label maps and lesions; None for a recipe without synthetic images.
        folder: receives checkpoints and logs.
        device: "auto", "cpu", "cuda".
        minutes: stop cleanly after this long; the recipe's own limit if None.
        weights: model name or file that a fresh run starts from; random weights if None.
        encoder: pre-trained encoder that a fresh run starts from; with no other weights.
        cache: folder that prepared real scans are kept in, for any number of runs; in `folder` if None.
        should_stop: asked after every step; true ends training with a checkpoint.
        on_progress: called after every step, in place of the display.
        on_open: called once the streams are open; gives the settings to train with in place of those it gets.

    Raises:
        RecipeError: the recipe's brains are not in the data, validation would see brains of training, the recipe
            needs a folder that it does not name, or the folder or the weights are of another network.
        UnknownModelError, WeightsError: no such weights.
        DataError: a part of the data is empty or missing.
    """
    if data is not None:
        recipe = with_data(recipe, data.structures)
    with closing(make_streams(recipe, data, resolve_device(device), cache or folder / "real")) as streams:
        _keep_recipe(recipe, folder)
        config = recipe.training.model_copy(update={"max_minutes": minutes} if minutes else {})
        if on_open is not None:
            config = on_open(streams, config)
        network = _fresh_network(recipe, weights, encoder)
        stream = PrefetchStream(streams.training, stride=process_count())
        try:
            return train(
                network,
                stream,
                streams.validation,
                config,
                folder,
                objective=make_objective(recipe),
                device=device,
                should_stop=should_stop,
                on_progress=on_progress,
            )
        finally:
            streams.close()  # first, so that no process waits for an image that is not needed
            stream.close()


def with_data(recipe: Recipe, structures: tuple[Structure, ...]) -> Recipe:
    """Return a recipe with the structures of the prepared data, if it takes them from there, else the recipe itself.

    Args:
        recipe: whose network gets an output channel for each structure.
        structures: of `PreparedData`; the background first.

    Raises:
        RecipeError: the data have no structures of their own, or the recipe already has others.
    """
    if recipe.structure_table == "synthseg":
        return recipe
    rows = structure_rows(structures)
    if not rows:
        raise RecipeError(
            f"{recipe.name}: expected data with a table of structures for `structure_table: data`; prepare them with "
            "`strokelabel prepare --em`"
        )
    content = recipe.model_dump(mode="json")
    if recipe.structure_table == "data":
        content["structure_table"] = rows
        content["network"]["out_channels"] = len(structures)
        return Recipe.model_validate(content)
    if content["structure_table"] != rows:
        raise RecipeError(
            f"{recipe.name}: expected data with the structures of the recipe "
            f"({', '.join(recipe.class_names)}), found {', '.join(one.name for one in structures)}"
        )
    return recipe


def _fresh_network(recipe: Recipe, weights: str | None, encoder: EncoderStart | None) -> nn.Module:
    """Return the recipe's network with random weights, or those that it is to start from.

    Raises:
        UnknownModelError, WeightsError, RecipeError: no such weights, of another network, or of two kinds at once.
    """
    torch.manual_seed(recipe.seed)
    network = make_network(recipe.network)
    if weights is not None and encoder is not None:
        raise RecipeError(
            f"{recipe.name}: expected --weights or --encoder to start from, got both; leave one out"
        )
    if weights is not None:
        _start_from(network, recipe, weights)
    if encoder is not None:
        encoder.apply(network, recipe)
    return network


def _start_from(network: nn.Module, recipe: Recipe, weights: str) -> None:
    """Give a fresh network the weights of a model; a checkpoint in the folder overrules them later.

    Where the model has another number of classes, layers of that size keep their random weights.

    Raises:
        RecipeError: the model has another network.
    """
    trained, _ = load_weights(check_same_network(recipe, weights))
    fresh = network.state_dict()
    fitting = {key: value for key, value in trained.state_dict().items() if value.shape == fresh[key].shape}
    network.load_state_dict(fresh | fitting)


def check_same_network(recipe: Recipe, weights: str) -> ModelSpec:
    """Find a model whose weights a recipe can start from: the same network, but for the number of classes.

    Raises:
        UnknownModelError, WeightsError: no such weights.
        RecipeError: the model has another network.
    """
    spec = find_model(weights)
    free = {"dropout", "out_channels"} & set(type(recipe.network).model_fields)
    ours = recipe.network.model_dump(exclude=free)
    if (
        type(found := network_config(spec)) is not type(recipe.network)
        or found.model_dump(exclude=free) != ours
    ):
        raise RecipeError(
            f"network: expected that of the weights {spec.path} ({spec.network}), got {recipe.network!r}; "
            "copy the weights' network into the recipe, or train without --weights"
        )
    return spec


def _keep_recipe(recipe: Recipe, folder: Path) -> None:
    """Write the recipe into the training folder, so that its checkpoints are never without it.

    Raises:
        RecipeError: the folder's checkpoints are of a recipe with another network.
    """
    path = folder / "recipe.yaml"
    if path.exists() and list_checkpoints(folder) and load_recipe(path).network != recipe.network:
        raise RecipeError(
            f"{path}: expected the network of this recipe, the folder was begun with another one; "
            "train into another folder"
        )
    atomic_write_text(path, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))


def describe_model(recipe: Recipe, path: Path, version: str, license_name: str) -> ModelSpec:
    """Describe the weights of a recipe, for their metadata.

    Args:
        recipe: what they were trained with.
        path: the file they will be written to.
        version: of the weights.
        license_name: SPDX identifier.

    Raises:
        RecipeError: the recipe takes its structures from data, and does not have them yet.
    """
    if recipe.structure_table == "data":
        raise RecipeError(
            f"{recipe.name}: expected a recipe with its structures; pass recipe.yaml of the training folder"
        )
    structures = recipe.structures if recipe.task == "segmentation" else ()
    return ModelSpec(
        name=recipe.name,
        version=version,
        description=recipe.description,
        path=path,
        network=recipe.network.model_dump(mode="json"),
        class_names=recipe.class_names,
        task=PARCELLATION if structures else recipe.task,
        class_ids=tuple(structure.id for structure in structures),
        spacing_mm=recipe.synthesis.spacing_mm,
        field_of_view_mm=recipe.synthesis.field_of_view_mm,
        normalization={"lower": 1.0, "upper": 99.0},
        recipe=recipe.model_dump(mode="json", exclude=_PRIVATE),
        training_step=0,
        license=license_name,
    )
