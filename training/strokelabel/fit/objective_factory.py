"""The objective of a recipe."""

from __future__ import annotations

from typing import Any

from strokelabel.fit.objective import Objective
from strokelabel.fit.objective_segmentation import SegmentationObjective
from strokelabel.fit.recipe import Recipe


def make_objective(recipe: Recipe) -> Objective[Any]:
    """What a recipe's network is trained for: quantitative maps, or classes.

    Raises:
        UnknownModelError, WeightsError: the model that a perceptual loss looks with is not there.
    """
    if recipe.estimation is not None:
        return recipe.estimation.objective()
    return SegmentationObjective.from_config(recipe.training, len(recipe.class_names), recipe.lesion_class)
