"""From a recipe and a prepared folder to a trained model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from strokelabel.errors import DataError
from strokelabel.fit.devices import resolve_device
from strokelabel.fit.loop import TrainingResult, train
from strokelabel.fit.prefetch import PrefetchStream
from strokelabel.fit.recipe import Recipe, select
from strokelabel.fit.synthetic_stream import SyntheticStream, SyntheticValidation
from strokelabel.networks.unet import build_network
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.head_cache import load_heads
from strokelabel.synthesis.lesion_bank import LesionBank
from strokelabel.synthesis.prepared import PreparedData, stable_split
from strokelabel.synthesis.validation import validation_cases, validation_config


@dataclass(frozen=True)
class SyntheticData:
    """What synthetic training and validation images are made from, at one voxel size."""

    training: Synthesizer
    validation: Synthesizer


def split_lesions(data: PreparedData, part: str) -> LesionBank:
    """The lesions of one part of the stable split: "train", "validation" or "test".

    Raises:
        DataError: the part is empty.
    """
    names = data.lesions.names
    bank = data.lesions.subset([i for i, name in enumerate(names) if stable_split(name) == part])
    if not len(bank):
        raise DataError(
            f"{data.folder}: none of its {len(names)} lesions falls into the part {part!r}; prepare more"
        )
    return bank


def make_synthesizer(
    data: PreparedData, recipe: Recipe, part: str, config: SynthesisConfig, device: torch.device | str
) -> Synthesizer:
    """The generator of one part ("train" or "validation") of a recipe's data."""
    patterns = recipe.brains.train if part == "train" else recipe.brains.validation
    names = select(list(data.brain_names), patterns, f"brains.{part}")
    heads = load_heads(data, names, config.spacing_mm)
    return Synthesizer(heads, split_lesions(data, part), data.table, config, device)


def train_recipe(
    recipe: Recipe, data: PreparedData, folder: Path, *, device: str = "auto", minutes: float | None = None
) -> TrainingResult:
    """Train the recipe's network, going on from where `folder` stopped.

    Args:
        recipe: what to train, and on what.
        data: prepared label maps and lesions.
        folder: receives checkpoints and logs.
        device: "auto", "cpu", "cuda".
        minutes: stop cleanly after this long; the recipe's own limit if None.

    Raises:
        RecipeError: the recipe's brains are not in the data.
        DataError: a part of the data is empty.
    """
    target = resolve_device(device)
    config = recipe.training.model_copy(update={"max_minutes": minutes} if minutes else {})
    torch.manual_seed(recipe.seed)
    network = build_network(recipe.network)
    training = make_synthesizer(data, recipe, "train", recipe.synthesis, target)
    check = validation_config(recipe.synthesis.shape, recipe.synthesis.spacing_mm)
    unseen = make_synthesizer(data, recipe, "validation", check, target)
    stream = PrefetchStream(SyntheticStream(training, config.batch_size, recipe.seed))
    validation = SyntheticValidation(unseen, validation_cases(recipe.validation.per_family))
    try:
        return train(network, stream, validation, config, folder, device=device)
    finally:
        stream.close()
