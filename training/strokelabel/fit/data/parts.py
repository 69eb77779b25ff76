"""Parts of prepared data: brains and lesions of training and of validation, and the generators of their images."""

from __future__ import annotations

from fnmatch import fnmatch

import torch

from strokelabel.errors import DataError, RecipeError
from strokelabel.fit.data.synthetic_streams import quantitative_heads
from strokelabel.fit.recipe import Recipe
from strokelabel.synthesis.anatomy.head import load_heads
from strokelabel.synthesis.anatomy.parcellation import ParcellationTarget
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.lesions.bank import LesionBank
from strokelabel.synthesis.prepared.dataset import PreparedData, image_of_variant, stable_split


def make_synthesizer(
    data: PreparedData, recipe: Recipe, part: str, config: SynthesisConfig, device: torch.device | str
) -> Synthesizer:
    """Return the generator of one part ("train" or "validation") of a recipe's data.

    Raises:
        RecipeError: a pattern matches nothing, or the recipe needs more than intensity clusters can give.
        DataError: the part is empty.
    """
    if data.table.has_clusters:
        _check_clusters(data, recipe, config)
    heads = load_heads(data, part_brains(data, recipe, part), config.spacing_mm)
    if part == "train" and recipe.maps is not None:
        heads = quantitative_heads(recipe.maps, heads, data, config)
    bank = data.lesions
    if not data.table.has_clusters:
        bank = split_lesions(data, part, config.lesion.minimum_volume_ml)
    if part == "train" and recipe.pseudo_labels is not None:
        from strokelabel.fit.pseudo_labels.lesions import (
            with_pseudo_lesions,
        )  # needs SimpleITK, other recipes do not

        bank = with_pseudo_lesions(bank, recipe.pseudo_labels, config.lesion.minimum_volume_ml)
    parcellation = None
    if recipe.target == "parcellation":
        lesion_class = recipe.lesion_class is not None
        structures = () if recipe.structure_table == "synthseg" else data.structures
        parcellation = ParcellationTarget(data.table, heads, lesion_class=lesion_class, structures=structures)
    return Synthesizer(heads, bank, data.table, config, device, parcellation)


def _check_clusters(data: PreparedData, recipe: Recipe, config: SynthesisConfig) -> None:
    """Refuse what intensity clusters cannot give: lesions, tissues, and contrasts that are known by tissue.

    Raises:
        RecipeError: naming the setting.
    """
    contrast, lesion = config.contrast, config.lesion
    for setting, expected, given in (
        ("target", "parcellation", recipe.target),
        ("synthesis.contrast.model", "mixture", contrast.model),
        ("synthesis.contrast.families", ["random"], [name for name, w in contrast.families.items() if w > 0]),
        ("synthesis.contrast.shared_mean_probability", 0, contrast.shared_mean_probability),
        ("synthesis.lesion.count_weights", [0], [n for n, w in lesion.count_weights.items() if w > 0]),
        ("pseudo_labels", None, recipe.pseudo_labels),
    ):
        if given != expected:
            raise RecipeError(
                f"{recipe.name}: {setting}: expected {expected} for data of `strokelabel prepare --em` "
                f"({data.folder}), got {given}"
            )


def split_lesions(data: PreparedData, part: str, minimum_ml: float = 0.0) -> LesionBank:
    """Return the lesions of one part of the stable split: "train", "validation" or "test".

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
    """Return the names of the label maps of one part ("train" or "validation") of a recipe.

    Raises:
        RecipeError: a pattern of the recipe matches none, or the recipe has no synthetic images.
    """
    if recipe.brains is None:
        raise RecipeError(f"{recipe.name}: expected a recipe with synthetic images, its images are all real")
    patterns = recipe.brains.train if part == "train" else recipe.brains.validation
    return select(list(data.brain_names), patterns, f"brains.{part}")


def select(names: list[str], patterns: tuple[str, ...], what: str) -> list[str]:
    """Return the names that match any of the patterns, in order.

    Raises:
        RecipeError: a pattern matches nothing.
    """
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise RecipeError(f"{what}: {pattern!r} matches none of the prepared label maps {names}")
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def check_unseen(data: PreparedData, recipe: Recipe) -> None:
    """Refuse a recipe that validates on what it trains on.

    Raises:
        RecipeError: naming the brains.
    """
    seen = {image_of_variant(name) for name in part_brains(data, recipe, "train")}
    both = [name for name in part_brains(data, recipe, "validation") if image_of_variant(name) in seen]
    if both:
        raise RecipeError(f"brains.validation: expected brains that are not in brains.train too, got {both}")
