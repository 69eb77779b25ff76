"""A new normaliser changes nothing, and two of the same seed are the same."""

from __future__ import annotations

import torch

from strokelabel.adaptation.normaliser import GaussianActivation, Normaliser, ToOneChannel


def test_a_new_normaliser_changes_no_bit_of_an_image() -> None:
    image = torch.randn(1, 1, 9, 12, 7, generator=torch.Generator().manual_seed(1)) * 3
    assert torch.equal(Normaliser()(image), image)


def test_the_seed_alone_decides_the_initial_weights() -> None:
    torch.manual_seed(1)
    first = Normaliser(seed=4).state_dict()
    torch.manual_seed(2)
    again, other = Normaliser(seed=4).state_dict(), Normaliser(seed=5).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])


def test_making_one_takes_no_random_numbers_from_others() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    Normaliser()
    assert torch.equal(torch.rand(4), expected)


def test_sigma_starts_near_the_papers_value_in_each_of_16_channels() -> None:
    activations = [layer for layer in Normaliser().layers if isinstance(layer, GaussianActivation)]
    assert [activation.sigma.shape for activation in activations] == [(16,), (16,)]
    sigma = torch.cat([activation.sigma for activation in activations])
    assert abs(float(sigma.detach().mean()) - 0.2) < 0.04


def test_the_activation_is_finite_whatever_becomes_of_sigma() -> None:
    activation = GaussianActivation(2)
    with torch.no_grad():
        activation.sigma.copy_(torch.tensor([0.0, -0.5]))
    features = torch.zeros(1, 2, 2, 2, 2, requires_grad=True)
    result = activation(features)
    result.sum().backward()
    assert torch.equal(result, torch.ones_like(result))
    assert features.grad is not None and features.grad.isfinite().all()


def test_the_activation_has_the_gradients_of_its_formula() -> None:
    generator = torch.Generator().manual_seed(4)
    activation = GaussianActivation(2).double()
    with torch.no_grad():
        activation.sigma.copy_(torch.tensor([0.3, -0.7]))
    features = torch.randn(1, 2, 3, 4, 2, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, _: activation(x), (features, activation.sigma))


def test_the_last_convolution_is_the_library_s_with_its_gradients() -> None:
    generator = torch.Generator().manual_seed(5)
    layer = ToOneChannel(3).double()
    features = torch.randn(2, 3, 9, 6, 4, generator=generator, dtype=torch.float64).requires_grad_()
    expected = torch.nn.functional.conv3d(features, layer.weight, layer.bias, padding="same")
    found = layer(features)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    inputs = (features, layer.weight, layer.bias)
    mine, theirs = (torch.autograd.grad((value * weights).sum(), inputs) for value in (found, expected))
    for gradient, wanted in zip(mine, theirs, strict=True):
        torch.testing.assert_close(gradient, wanted)
