"""A computation ends at the next layer once its check raises, and is the same with and without a check."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from strokelabel.inference.interruption import add_checks, check_interruption, interruptible


class LeftError(Exception):
    pass


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv3d(1, 2, 3), nn.Sequential(nn.ReLU(), nn.Conv3d(2, 1, 3)))


def image() -> Tensor:
    return torch.randn((1, 1, 7, 8, 9), generator=torch.Generator().manual_seed(2)).requires_grad_()


def gradient(layers: nn.Module) -> Tensor:
    shown = image()
    return torch.autograd.grad(layers(shown).square().sum(), shown)[0]


def test_every_layer_asks_on_the_way_there_and_back_and_nothing_else_changes() -> None:
    layers, asked = network(), []
    expected = gradient(layers)
    with interruptible(layers, lambda: asked.append(1)):
        assert torch.equal(gradient(layers), expected)
    assert len(asked) == 6
    gradient(layers)
    assert len(asked) == 6 and not any(layer._forward_hooks for layer in layers.modules())


@pytest.mark.parametrize("calls", [1, 3, 4, 6])
def test_what_the_check_raises_ends_the_pass_wherever_it_is(calls: int) -> None:
    layers, asked = network(), []

    def check() -> None:
        asked.append(1)
        if len(asked) == calls:
            raise LeftError

    with pytest.raises(LeftError), interruptible(layers, check):
        gradient(layers)
    assert len(asked) == calls
    check_interruption()  # and later ones are not asked
    assert len(asked) == calls and not any(layer._forward_pre_hooks for layer in layers.modules())


def test_another_thread_that_uses_the_network_is_not_interrupted() -> None:
    layers, results = network(), []

    def check() -> None:
        raise LeftError

    with interruptible(layers, check):
        other = threading.Thread(target=lambda: results.append(layers(image())))
        other.start()
        other.join()
    assert len(results) == 1


def test_layers_of_other_networks_ask_too_once_they_are_told_to() -> None:
    layers, more, asked = network(), network(), []
    add_checks(more)
    more(image())
    with interruptible(layers, lambda: asked.append(1)):
        more(image())
    assert len(asked) == 3
