"""A network for quality control with random weights: its Dice mean nothing, but depend on scan and parcellation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from strokelabel.networks.quality import QualityConfig, QualityNetwork
from strokelabel.networks.weights import save_weights
from strokelabel.registry import QUALITY, ModelSpec
from strokelabel.structures import QUALITY_GROUPS
from support.bright_network import make_spec

CONFIG = QualityConfig(channels=(4, 8), strides=(2, 2), hidden=6)


def quality_spec(**changes: Any) -> ModelSpec:
    """A model of 4 mm voxels, with the field of view of the bright network."""
    known = {
        "name": "random-quality",
        "description": "random",
        "path": Path("quality.safetensors"),
        "network": CONFIG.model_dump(mode="json"),
        "class_names": tuple(QUALITY_GROUPS),
        "task": QUALITY,
        "spacing_mm": 4.0,
    }
    return make_spec(**(known | changes))


def random_network(bias: float = 0.0) -> QualityNetwork:
    """A network with the same random weights every time.

    Args:
        bias: of the last layer: far below zero for a Dice of 0, far above for 1.
    """
    torch.manual_seed(3)
    network = QualityNetwork(CONFIG).eval()
    last = network.head[-1]
    assert isinstance(last, torch.nn.Conv1d) and last.bias is not None
    with torch.no_grad():
        last.weight.mul_(4)
        last.bias.fill_(bias)
    return network


def save_quality_model(path: Path, bias: float = 0.0, **changes: Any) -> Path:
    """Write one, with other entries of its description."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, random_network(bias), quality_spec(path=path, **changes), dtype="float32")
    return path
