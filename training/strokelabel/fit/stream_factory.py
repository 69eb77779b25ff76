"""The streams that a recipe trains and validates on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from strokelabel.errors import DataError, RecipeError
from strokelabel.fit.recipe import Recipe, select
from strokelabel.fit.streams import BatchStream, ValidationStream
from strokelabel.fit.synthetic_stream import SyntheticStream, SyntheticValidation
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.head_cache import load_heads
from strokelabel.synthesis.lesion_bank import LesionBank
from strokelabel.synthesis.prepared import PreparedData, stable_split
from strokelabel.synthesis.validation import validation_cases, validation_config


@dataclass(frozen=True)
class Streams:
    """What a network is trained on, and what it is scored on."""

    training: BatchStream
    validation: ValidationStream


def make_streams(recipe: Recipe, data: PreparedData, device: torch.device | str) -> Streams:
    """The streams of a recipe; nothing that is trained on is validated on.

    Args:
        recipe: which data, and how many to a batch.
        data: prepared label maps and lesions.
        device: where images are computed.

    Raises:
        RecipeError: a pattern of the recipe matches no brain, or brains of training are in validation too.
        DataError: a part of the data is empty.
    """
    check_unseen(data, recipe)
    return Streams(_synthetic_training(recipe, data, device), _synthetic_validation(recipe, data, device))


def _synthetic_training(recipe: Recipe, data: PreparedData, device: torch.device | str) -> SyntheticStream:
    synthesizer = make_synthesizer(data, recipe, "train", recipe.synthesis, device)
    return SyntheticStream(synthesizer, recipe.training.batch_size, recipe.seed)


def _synthetic_validation(
    recipe: Recipe, data: PreparedData, device: torch.device | str
) -> SyntheticValidation:
    config = validation_config(recipe.synthesis.shape, recipe.synthesis.spacing_mm)
    synthesizer = make_synthesizer(data, recipe, "validation", config, device)
    return SyntheticValidation(synthesizer, validation_cases(recipe.validation.per_family))


def make_synthesizer(
    data: PreparedData, recipe: Recipe, part: str, config: SynthesisConfig, device: torch.device | str
) -> Synthesizer:
    """The generator of one part ("train" or "validation") of a recipe's data."""
    heads = load_heads(data, part_brains(data, recipe, part), config.spacing_mm)
    bank = split_lesions(data, part, config.lesion.minimum_volume_ml)
    return Synthesizer(heads, bank, data.table, config, device)


def split_lesions(data: PreparedData, part: str, minimum_ml: float = 0.0) -> LesionBank:
    """The lesions of one part of the stable split: "train", "validation" or "test".

    Args:
        data: prepared lesions.
        part: of the split.
        minimum_ml: smaller lesions are left out.

    Raises:
        DataError: the part is empty.
    """
    names, volumes = data.lesions.names, data.lesions.volumes_ml
    chosen = [i for i, name in enumerate(names) if stable_split(name) == part and volumes[i] >= minimum_ml]
    bank = data.lesions.subset(chosen)
    if not len(bank):
        raise DataError(
            f"{data.folder}: none of its {len(names)} lesions falls into the part {part!r}; prepare more"
        )
    return bank


def part_brains(data: PreparedData, recipe: Recipe, part: str) -> list[str]:
    """Names of the label maps of one part ("train" or "validation") of a recipe.

    Raises:
        RecipeError: a pattern of the recipe matches none.
    """
    patterns = recipe.brains.train if part == "train" else recipe.brains.validation
    return select(list(data.brain_names), patterns, f"brains.{part}")


def check_unseen(data: PreparedData, recipe: Recipe) -> None:
    """Refuse a recipe that validates on what it trains on.

    Raises:
        RecipeError: naming the brains.
    """
    seen = part_brains(data, recipe, "train")
    both = [name for name in part_brains(data, recipe, "validation") if name in seen]
    if both:
        raise RecipeError(f"brains.validation: expected brains that are not in brains.train too, got {both}")
