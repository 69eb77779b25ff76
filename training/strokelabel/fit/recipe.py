"""Training recipes: one YAML file per published model, checked before anything is computed."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from strokelabel.errors import RecipeError
from strokelabel.fit.config import TrainingConfig
from strokelabel.networks.unet import UNetConfig
from strokelabel.synthesis.config import SynthesisConfig


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BrainSplit(_Section):
    """Which prepared label maps serve for what: names or patterns such as "brain-0*"."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


class ValidationConfig(_Section):
    """The validation during training."""

    per_family: int = Field(4, ge=1)
    """Synthetic volumes per contrast family."""


class Recipe(_Section):
    """Everything that decides a model, apart from the data itself."""

    name: str
    description: str = ""
    seed: int = 0
    brains: BrainSplit
    network: UNetConfig = UNetConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    validation: ValidationConfig = ValidationConfig()
    training: TrainingConfig


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by name (one that ships with StrokeLabel) or by path.

    Raises:
        RecipeError: no such recipe, not YAML, or a value out of range; says which.
    """
    path = find_recipe(name_or_path)
    try:
        content: Any = yaml.safe_load(path.read_text())
        return Recipe.model_validate(content)
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: expected YAML, {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"{path}: {problems}") from error


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe.

    Raises:
        RecipeError: naming the recipes that exist.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = {p.stem: p for folder in _recipe_folders() for p in sorted(folder.glob("*.yaml"))}
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    raise RecipeError(f"No recipe {str(name_or_path)!r}: expected a YAML file or one of {sorted(shipped)}")


def _recipe_folders() -> list[Path]:
    """Where shipped recipes lie: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    return [folder for folder in (package / "recipes", package.parent / "recipes") if folder.is_dir()]


def select(names: list[str], patterns: tuple[str, ...], what: str) -> list[str]:
    """Names that match any of the patterns, in order.

    Raises:
        RecipeError: a pattern matches nothing.
    """
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise RecipeError(f"{what}: {pattern!r} matches none of the prepared label maps {names}")
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def shrink(recipe: Recipe) -> Recipe:
    """The same recipe with only its size reduced: two steps of a tiny network on tiny images, on any machine."""
    network = recipe.network.model_copy(
        update={"channels": tuple(4 for _ in recipe.network.channels), "dropout": recipe.network.dropout}
    )
    side = recipe.network.multiple
    synthesis = recipe.synthesis.model_copy(
        update={"shape": (side, side, side), "spacing_mm": max(recipe.synthesis.spacing_mm, 192 / side)}
    )
    training = recipe.training.model_copy(
        update={
            "steps": 2,
            "validate_every": 1,
            "checkpoint_every": 1,
            "warmup_steps": 0,
            "precision": "32-true",
        }
    )
    return recipe.model_copy(
        update={
            "name": f"{recipe.name}-fast-dev-run",
            "network": network,
            "synthesis": synthesis,
            "training": training,
            "validation": ValidationConfig(per_family=1),
        }
    )
