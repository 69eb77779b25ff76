"""Files of recipes: where they lie, and the content of one that extends another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from strokelabel.errors import RecipeError


def find_recipe(name_or_path: str | Path) -> Path:
    """Return the file of a recipe.

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
    """Return the folders of shipped recipes: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    return [folder for folder in (package / "recipes", package.parent / "recipes") if folder.is_dir()]


def read_content(path: Path, extended_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the content of a recipe file, merged into that of the recipe that it extends.

    A recipe of another task does not take over the network.

    Args:
        path: the file.
        extended_by: files that extend this one, so that a circle is found.

    Raises:
        RecipeError: not YAML, not a recipe, or a circle.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: expected a recipe in YAML, {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(
            f"{path}: expected a recipe in YAML with name, brains and training, got {content!r:.80}"
        )
    if "extends" not in content:
        return content
    extended = str(content.pop("extends"))
    beside = path.parent / extended
    base = (beside if beside.is_file() else find_recipe(extended)).resolve()
    chain = (*extended_by, path.resolve())
    if base in chain:
        raise RecipeError(
            f"{path}: expected `extends` to end at a recipe without it, it comes back to {base}"
        )
    inherited = read_content(base, chain)
    if content.get("task", inherited.get("task")) != inherited.get("task"):
        inherited.pop("network", None)
    return _merge(inherited, content)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge mappings key by key; other values are replaced."""
    merged = dict(base)
    for key, value in changes.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _merge(before, value)
        else:
            merged[key] = value
    return merged
