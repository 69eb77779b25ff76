"""Recipes at a size that any machine trains in seconds, to try whether a training runs."""

from __future__ import annotations

from math import ceil
from typing import Any

from strokelabel.fit.recipe import Recipe, ValidationConfig
from strokelabel.networks.contrastive import ContrastiveConfig
from strokelabel.networks.denoiser import DenoiserConfig


def shrink(recipe: Recipe) -> Recipe:
    """Return the recipe at a reduced size: two steps of a tiny network on tiny images, on any machine."""
    # Instance normalisation needs more than one voxel at the coarsest level.
    side = 2 * recipe.network.multiple
    smaller: dict[str, Any] = {"channels": tuple(4 for _ in recipe.network.channels)}
    if isinstance(recipe.network, DenoiserConfig):
        smaller["atlas_voxels"] = (side, side, side)
    elif isinstance(recipe.network, ContrastiveConfig):
        smaller |= {"cells": 1, "hidden": 8, "projection": 4}
    network = recipe.network.model_copy(update=smaller)
    spacing, multiple = recipe.synthesis.spacing_mm, recipe.network.multiple
    spacing = max(spacing, 192 / side) if recipe.predictions is None else spacing  # of another model
    voxels = max(side, multiple * ceil(160 / spacing / multiple))
    synthesis = recipe.synthesis.model_copy(update={"shape": (voxels,) * 3, "spacing_mm": spacing})
    # Both stages of an estimator's loss.
    estimation = recipe.estimation and recipe.estimation.model_copy(update={"mse_steps": 1})
    training = recipe.training.model_copy(
        update={
            "steps": 2,
            "validate_every": 1,
            "checkpoint_every": 1,
            "warmup_steps": 0,
            "precision": "32-true",
            "compile": False,
        }
    )
    return recipe.model_copy(
        update={
            "name": f"{recipe.name}-fast-dev-run",
            "network": network,
            "synthesis": synthesis,
            "slabs": recipe.slabs and recipe.slabs.model_copy(update={"count": 1, "thickness_voxels": side}),
            "scans": recipe.scans and recipe.scans.model_copy(update={"count": 1}),
            "estimation": estimation,
            "training": training,
            "validation": ValidationConfig(per_family=1),
        }
    )
