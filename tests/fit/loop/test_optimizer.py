import pytest
import torch
from lightning_fabric import Fabric
from torch.optim import AdamW

from strokelabel.fit.loop.optimizer import is_sound, load_optimizer_state, make_optimizer, update_weights
from support.tiny_run import tiny_config


def network_with_gradient(value: float) -> torch.nn.Module:
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, value)
    return network


@pytest.fixture
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def test_the_norm_before_clipping_is_returned_and_the_gradients_are_cleared(fabric):
    network = network_with_gradient(2.0)
    norm = update_weights(make_optimizer(network, tiny_config()), fabric, clip_norm=0.5)
    assert norm.item() == pytest.approx(2 * 8**0.5)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_skipped_step_leaves_weights_moments_and_their_step_count(fabric):
    network = network_with_gradient(1.0)
    optimizer = make_optimizer(network, tiny_config())
    update_weights(optimizer, fabric, clip_norm=12.0)
    before = [value.detach().clone() for value in network.parameters()]
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, torch.nan)
    update_weights(optimizer, fabric, clip_norm=12.0)
    assert all(torch.equal(now, then) for now, then in zip(network.parameters(), before, strict=True))
    for state in optimizer.state.values():
        assert state["step"] == 1
        assert state["exp_avg"].isfinite().all()


def test_the_state_of_a_plain_optimiser_is_taken_over(fabric):
    networks = [network_with_gradient(1.0), network_with_gradient(1.0)]
    plain = AdamW(make_optimizer(networks[0], tiny_config()).param_groups, lr=0.01, fused=False)
    plain.step()
    fused = make_optimizer(networks[1], tiny_config())
    update_weights(fused, fabric, clip_norm=0.0)

    resumed = make_optimizer(networks[0], tiny_config())
    load_optimizer_state(resumed, plain.state_dict())

    for network, optimizer in zip(networks, (resumed, fused), strict=True):
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        update_weights(optimizer, fabric, clip_norm=0.0)
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("norm", "taken"), [(49.0, True), (51.0, False), (torch.inf, False), (torch.nan, False)]
)
def test_a_step_with_a_gradient_above_the_limit_is_left_out(fabric, norm, taken):
    network = network_with_gradient(norm / 8**0.5)
    before = [value.detach().clone() for value in network.parameters()]
    found = update_weights(make_optimizer(network, tiny_config()), fabric, clip_norm=5.0, largest_norm=50.0)
    moved = [not torch.equal(now, then) for now, then in zip(network.parameters(), before, strict=True)]
    assert all(moved) if taken else not any(moved)
    assert is_sound(found.item(), 50.0) == taken
    assert is_sound(found.item(), 0.0) == (norm < torch.inf), "without a limit, any finite gradient will do"


def test_a_limit_is_refused_where_the_gradient_scaler_judges():
    with pytest.raises(ValueError, match="largest_norm: expected 0 with the precision 16-mixed"):
        tiny_config(largest_norm=50.0, precision="16-mixed")
