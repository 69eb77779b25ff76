import pytest
import torch
from torch import nn

from strokelabel.errors import WeightsError
from strokelabel.fit.estimation import SegmenterFeatures, perceptual_distance
from strokelabel.networks.unet import UNetConfig, build_network


@pytest.fixture(params=["plain", "residual", "subpixel"])
def features(request):
    torch.manual_seed(3)
    config = UNetConfig(architecture=request.param, channels=(4, 6, 8), strides=(2, 2), dropout=0.2)
    return SegmenterFeatures(build_network(config))


@pytest.fixture
def images():
    return torch.randn(2, 1, 8, 12, 16, generator=torch.Generator().manual_seed(1))


def test_each_level_of_the_encoder_gives_features_and_dropout_stays_off(features, images):
    features.train()
    first, second = features.features(images), features.features(images)
    assert [level.shape[1] for level in first] == [4, 6, 8]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_equal_images_have_no_distance_and_others_do(features, images):
    assert perceptual_distance(images, images.clone(), features) == 0
    assert perceptual_distance(images + torch.randn_like(images), images, features) > 0.01
    assert perceptual_distance(images.flip(2), images, features) > 0.01


def test_gradients_reach_the_images_and_leave_the_network_alone(features, images):
    moving = torch.randn_like(images).requires_grad_()
    perceptual_distance(moving, images, features).backward()
    assert moving.grad is not None
    assert moving.grad.abs().sum() > 0
    assert all(value.grad is None for value in features.parameters())


def test_a_constant_image_gives_a_finite_gradient(features, images):
    moving = torch.zeros_like(images).requires_grad_()
    perceptual_distance(moving, torch.zeros_like(images), features).backward()
    assert moving.grad is not None
    assert moving.grad.isfinite().all()


def test_the_shipped_segmenter_is_the_default_and_is_frozen():
    features = SegmenterFeatures.from_model()
    levels = features.features(torch.randn(1, 1, 32, 32, 32))
    assert len(levels) >= 3
    assert not any(value.requires_grad for value in features.parameters())


def test_a_network_without_an_encoder_is_refused():
    with pytest.raises(WeightsError, match="segmentation U-Net"):
        SegmenterFeatures(nn.Conv3d(1, 1, 3))
