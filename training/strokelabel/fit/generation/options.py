"""Options of the command line about generators, in place of the recipe's."""

from __future__ import annotations

from strokelabel.fit.recipe import Recipe


def with_generators(recipe: Recipe, generators: int | None, gpu_generators: int | None) -> Recipe:
    """A recipe with as many processes that make images as somebody asks for; None for the recipe's own number."""
    asked = {"generators": generators, "gpu_generators": gpu_generators}
    update = {name: count for name, count in asked.items() if count is not None}
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=update)})
