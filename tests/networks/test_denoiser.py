"""A denoiser starts from the map that it is given, and is stored as a task of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from strokelabel.networks.denoiser import Denoiser, DenoiserConfig, positions
from strokelabel.networks.weights import load_weights, multiple_of
from strokelabel.registry import DENOISING
from support.tiny_denoiser import idle_denoiser, save_denoiser


def test_an_untrained_network_changes_next_to_nothing() -> None:
    maps = torch.softmax(torch.randn(2, 6, 4, 6, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    corrected = torch.softmax(idle_denoiser()(maps), dim=1)
    torch.testing.assert_close(corrected, maps, atol=0.25, rtol=0)
    assert torch.equal(corrected.argmax(dim=1), maps.argmax(dim=1))


def test_weights_are_stored_and_loaded_with_their_task(tmp_path: Path) -> None:
    network, spec = load_weights(save_denoiser(tmp_path / "idle.safetensors"))
    assert isinstance(network, Denoiser)
    assert (spec.task, multiple_of(spec)) == (DENOISING, 2)


@pytest.mark.parametrize(
    ("channels", "expected"), [((4, 4, 4, 4), "one stride fewer"), ((4, 4), "at least 3 levels")]
)
def test_levels_must_fit_together(channels: tuple[int, ...], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        DenoiserConfig(channels=channels, strides=(2,) * min(2, len(channels) - 1))


def test_positions_go_with_the_head_wherever_it_lies_in_the_volume() -> None:
    maps = torch.zeros(2, 3, 12, 16, 10)
    maps[0, 1, 2:5, 4:9, 1:4] = 1
    maps[1, 1, 7:10, 8:13, 5:8] = 1
    maps[:, 0] = 1 - maps[:, 1]
    first, second = positions(maps)
    torch.testing.assert_close(first[:, 2:5, 4:9, 1:4], second[:, 7:10, 8:13, 5:8])
    torch.testing.assert_close(first[:, 3, 6, 2], torch.zeros(3))
    torch.testing.assert_close(first[:, 4, 6, 2], torch.tensor([1.0, 0.0, 0.0]))


def test_the_atlas_goes_with_the_head_and_learns() -> None:
    network = Denoiser(
        DenoiserConfig(classes=3, channels=(2, 2, 2), strides=(1, 1), atlas_voxels=(12, 16, 10))
    )
    with torch.no_grad():
        network.atlas.normal_(generator=torch.Generator().manual_seed(2))
    maps = torch.zeros(2, 3, 12, 16, 10)
    maps[0, 1, 2:5, 4:9, 1:4] = maps[1, 1, 6:9, 8:13, 5:8] = 1
    maps[:, 0] = 1 - maps[:, 1]
    first, second = network(maps)
    torch.testing.assert_close(first[:, 2:5, 4:9, 1:4], second[:, 6:9, 8:13, 5:8])
    first.sum().backward()
    assert network.atlas.grad is not None and network.atlas.grad.abs().sum() > 0
