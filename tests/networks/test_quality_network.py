"""A network that predicts Dice: a number for each group of any parcellation, stored as a task of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from strokelabel.networks.quality import QualityConfig, QualityNetwork
from strokelabel.networks.weights import load_weights, multiple_of
from strokelabel.registry import QUALITY
from support.tiny_quality import random_network, save_quality_model


def shown(classes: torch.Tensor) -> torch.Tensor:
    """Noise with a parcellation (x, y, z) of nine classes as maps, a batch of one."""
    image = torch.randn(1, *classes.shape, generator=torch.Generator().manual_seed(1))
    return torch.cat([image, torch.stack([classes == number for number in range(9)])])[None]


def test_every_group_has_a_dice_from_0_to_1_also_where_there_is_background_alone() -> None:
    classes = torch.randint(0, 9, (8, 12, 16), generator=torch.Generator().manual_seed(2))
    for given in (classes, torch.zeros_like(classes)):
        dice = random_network()(shown(given))
        assert dice.shape == (1, 8)
        assert dice.isfinite().all() and dice.min() >= 0 and dice.max() <= 1


def test_gradients_reach_every_weight() -> None:
    classes = torch.randint(0, 9, (8, 12, 16), generator=torch.Generator().manual_seed(2))
    network = random_network()
    network(shown(classes)).sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in network.parameters())


def test_weights_are_stored_and_loaded_with_their_task(tmp_path: Path) -> None:
    network, spec = load_weights(save_quality_model(tmp_path / "quality.safetensors"))
    assert isinstance(network, QualityNetwork)
    assert (spec.task, multiple_of(spec), len(spec.class_names)) == (QUALITY, 4, 8)


def test_levels_must_fit_together() -> None:
    with pytest.raises(ValueError, match="expected a stride for each of the levels"):
        QualityConfig(channels=(4, 4), strides=(2,))
