import pytest
import torch

from strokelabel.fit.loop.optimizer import WeightAverage
from support.tiny_run import tiny_network


def fill(network: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)


def average_value(average: WeightAverage) -> float:
    return next(iter(average.state_dict().values())).flatten()[0].item()


def test_the_average_moves_by_one_less_the_decay_of_the_way():
    network = tiny_network()
    fill(network, 0.0)
    average = WeightAverage(network, decay=0.75)
    fill(network, 1.0)
    for _ in range(2):
        average.update(step=10_000)
    assert average_value(average) == pytest.approx(1 - 0.75**2)


def test_early_on_the_initial_weights_are_forgotten_faster():
    network = tiny_network()
    fill(network, 0.0)
    average = WeightAverage(network, decay=0.999)
    fill(network, 1.0)
    for step in range(1, 21):
        average.update(step)
    assert average_value(average) > 0.99


def test_the_network_has_the_averaged_weights_within_the_block_and_its_own_after_it():
    network = tiny_network()
    fill(network, 0.0)
    average = WeightAverage(network, decay=0.5)
    fill(network, 1.0)
    with pytest.raises(ZeroDivisionError), average.applied():
        assert all(bool((value == 0).all()) for value in network.parameters())
        raise ZeroDivisionError
    assert all(bool((value == 1).all()) for value in network.parameters())
    assert average_value(average) == 0


def test_averages_of_another_network_are_refused():
    average = WeightAverage(tiny_network(), decay=0.5)
    with pytest.raises(RuntimeError, match="differ"):
        average.load_state_dict({"other": torch.zeros(1)})
