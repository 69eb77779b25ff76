"""A small estimator for tests, with weights as they start: near the values of tissue everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from strokelabel.networks.estimator import ESTIMATED_MAPS, EstimatorConfig, build_estimator
from strokelabel.networks.weights import save_weights
from strokelabel.registry import ESTIMATION, ModelSpec
from support.bright_network import make_spec

TINY = EstimatorConfig(channels=(4, 6), strides=(2,))


def estimator_spec(config: EstimatorConfig = TINY, **changes: Any) -> ModelSpec:
    """Its description: 2 mm voxels."""
    known: dict[str, Any] = {
        "name": "tiny-estimator",
        "description": "estimates maps",
        "network": config.model_dump(mode="json"),
        "class_names": ESTIMATED_MAPS,
        "normalization": {"lower": 0.5, "upper": 99.5},
        "task": ESTIMATION,
    }
    return make_spec(**(known | changes))


def save_tiny_estimator(path: Path, seed: int = 2) -> Path:
    """Write its weights."""
    torch.manual_seed(seed)
    save_weights(path, build_estimator(TINY), estimator_spec(path=path))
    return path
