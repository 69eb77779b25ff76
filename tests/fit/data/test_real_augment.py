"""Augmented scans: a pure function of the seed; lesions stay with their image; angles are those asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strokelabel.fit.data.annotated_scans.augmentation import RealAugmentation, context_box
from strokelabel.fit.data.annotated_scans.scans import RealAugmentationConfig
from strokelabel.networks.normalization import normalize
from strokelabel.synthesis.config import DeformationConfig

SHAPE = (28, 36, 32)
STILL = {"rotation_degrees": (0, 0), "shear": (0, 0), "zoom": (1, 1), "flip_probability": (0, 0, 0)}
NO_INTENSITY = {"bias_coefficients": (0, 0), "gamma": (1, 1), "noise_deviation": 0.0}


def scan(shape=(40, 44, 30)) -> tuple[torch.Tensor, torch.Tensor]:
    """An ellipsoid head with a brighter rod along y for lesion, off the centre."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"), -1)
    head = (grid**2).sum(-1) < 0.9
    lesion = (
        (np.abs(grid[..., 0] - 0.25) < 0.12) & (np.abs(grid[..., 1]) < 0.5) & (np.abs(grid[..., 2]) < 0.15)
    )
    image = head * (0.4 + 0.1 * grid[..., 0]) + 0.5 * lesion
    return torch.from_numpy(image.astype(np.float32)), torch.from_numpy(lesion)


def augmentation(deformation=None, **changes) -> RealAugmentation:
    return RealAugmentation(
        SHAPE, DeformationConfig(**(deformation or {})), RealAugmentationConfig(**changes)
    )


def test_the_same_seed_gives_the_same_item_whatever_was_made_before():
    augment = augmentation()
    first, label = augment(*scan(), 7)
    augment(*scan(), 8)
    np.random.rand(3)
    torch.rand(3)
    again, label_again = augment(*scan(), 7)
    assert torch.equal(first, again) and torch.equal(label, label_again)
    assert not torch.equal(first, augment(*scan(), 9)[0])


def test_an_item_has_the_crop_s_shape_and_the_intensities_of_prediction():
    image, label = augmentation()(*scan(), 3)
    assert image.shape == (1, *SHAPE) and image.dtype == torch.float32
    assert label.shape == SHAPE and label.dtype == torch.bool
    assert abs(float(image.mean())) < 1e-3 and abs(float(image.std()) - 1) < 1e-2


def test_the_lesion_stays_with_its_image_through_every_deformation():
    quiet = augmentation(None, probability=1.0, elastic_sigma_voxels=(3, 4), **NO_INTENSITY)
    quiet._intensity.transforms = ()  # geometry alone, so that the lesion is what is bright
    for seed in range(4):
        image, label = quiet(*scan(), seed)
        assert label.any()
        bright = image[0] > float(image.max()) * 0.75
        overlap = 2 * float((bright & label).sum()) / float(bright.sum() + label.sum())
        assert overlap > 0.75, seed


@pytest.mark.parametrize("degrees", [10.0, 25.0])
def test_angles_are_degrees_in_the_recipe_and_never_exceeded(degrees):
    """MONAI takes radians: handed degrees, heads would point anywhere."""
    turned = augmentation(
        STILL | {"rotation_degrees": (-degrees, degrees)},
        probability=1.0,
        elastic_sigma_voxels=(1, 1),
        elastic_magnitude_voxels=(0, 0),
        **NO_INTENSITY,
    )
    angles = []
    volume, rod = scan(SHAPE)
    for seed in range(8):
        _, label = turned(volume, rod, seed)
        points = np.argwhere(label.numpy()) - np.argwhere(label.numpy()).mean(axis=0)
        axis = np.linalg.svd(points, full_matrices=False)[2][0]
        angles.append(np.degrees(np.arccos(min(1.0, abs(axis[1])))))
    assert max(angles) < degrees * 2**0.5 + 3  # two of the three turns tilt the rod
    assert max(angles) > degrees / 2


def test_without_changes_only_the_crop_is_left():
    plain = augmentation(STILL, probability=0.0)
    volume, lesion = scan((28, 36, 32))
    image, label = plain(volume, lesion, 5)
    assert torch.equal(label, lesion)
    assert torch.allclose(image, normalize(volume[None, None])[0], atol=1e-3)


def test_flips_follow_the_recipe_s_probabilities():
    always = augmentation(STILL | {"flip_probability": (1, 0, 0)}, probability=0.0)
    volume, lesion = scan((28, 36, 32))
    assert torch.equal(always(volume, lesion, 5)[1], lesion.flip(0))


def test_crops_lie_anywhere_inside_a_larger_volume_and_around_the_middle_of_a_smaller_one():
    rng = np.random.default_rng(1)
    boxes = [context_box((50, 20, 32), SHAPE, rng) for _ in range(200)]
    first = np.array([box.start for box in boxes]) + np.ceil(0.25 * np.array(SHAPE)).astype(int)
    assert (first[:, 0].min(), first[:, 0].max()) == (0, 50 - 28)
    assert set(first[:, 1]) == {(20 - 36) // 2} and set(first[:, 2]) == {0}
