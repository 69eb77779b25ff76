import pytest
import torch

from strokelabel.fit.estimation import EstimatorLoss, SegmenterFeatures, gradient_loss, relative_maps
from strokelabel.networks.unet import UNetConfig, build_network


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return SegmenterFeatures(
        build_network(UNetConfig(architecture="plain", channels=(4, 6, 8), strides=(2, 2)))
    )


@pytest.fixture
def target():
    scale = torch.tensor([80.0, 1.0, 20.0, 1.5]).view(1, 4, 1, 1, 1)
    return scale * torch.rand(2, 4, 8, 10, 12, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("step", [0, 100])
def test_the_loss_of_the_truth_is_zero_in_both_stages(network, target, step):
    assert EstimatorLoss(10, 0.1, network)(target.clone(), target, step) == 0


def test_the_stage_changes_exactly_at_its_step(network, target):
    loss = EstimatorLoss(10, 0.1, network)
    maps = target * 1.1
    found, wanted = relative_maps(maps, target)
    error = (found - wanted).square().mean()
    assert loss(maps, target, 9) == error
    assert loss(maps, target, 10) > gradient_loss(found, wanted) > error


def test_the_perceptual_part_can_be_left_out(target):
    maps = target * 1.1
    loss = EstimatorLoss(0, 0.0)(maps, target, 5)
    assert loss == gradient_loss(*relative_maps(maps, target))
    with pytest.raises(ValueError, match="feature network"):
        EstimatorLoss(0, 0.1)


def test_every_map_counts_alike_whatever_its_unit(target):
    loss = EstimatorLoss(0, 0.0)
    values = []
    for index in range(4):
        maps = target.clone()
        maps[:, index] += 0.1 * target[:, index].amax(dim=(1, 2, 3), keepdim=True)
        values.append(loss(maps, target, 1).item())
    assert values == pytest.approx([values[0]] * 4, rel=1e-4)


def test_gradient_terms_tell_noise_from_an_offset_of_the_same_size(target):
    noise = 0.1 * torch.sign(torch.randn(target.shape, generator=torch.Generator().manual_seed(4)))
    assert gradient_loss(target + 0.1, target) == pytest.approx(0.1 + 0.01, rel=1e-3)
    assert gradient_loss(target + noise, target) > 0.15


@pytest.mark.parametrize("step", [0, 100])
def test_gradients_reach_every_map_and_stay_finite_where_a_map_is_zero(network, target, step):
    target[:, 3] = 0
    maps = (target + 0.05).requires_grad_()
    EstimatorLoss(10, 0.1, network)(maps, target, step).backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()
    assert bool((maps.grad.abs().amax(dim=(0, 2, 3, 4)) > 0).all())
