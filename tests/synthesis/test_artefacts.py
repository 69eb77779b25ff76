"""Artefacts obey their closed forms and act along the axis they are asked to."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from strokelabel.synthesis.config import ArtefactConfig
from strokelabel.synthesis.fields import evaluate_fields, gaussian_matrix
from strokelabel.synthesis.sampling import Sampler
from strokelabel.synthesis.scanner import (
    ArtefactParameters,
    acquire,
    apply_bias,
    apply_gamma,
    clip_to_window,
    rician,
    sample_artefacts,
)

NOTHING = ArtefactParameters(
    bias=torch.zeros(1, 2, 2, 2),
    gamma=1.0,
    motion_fwhm_mm=(0.0, 0.0, 0.0),
    resolution_mm=(0.0, 0.0, 0.0),
    thickness_mm=(0.0, 0.0, 0.0),
    phase=(0.0, 0.0, 0.0),
    noise_deviation=0.0,
    noise_field=torch.zeros(1, 2, 2, 2),
    noise_seed=7,
)
SHAPE = (20, 26, 32)


@pytest.fixture
def image():
    generator = torch.Generator().manual_seed(5)
    return torch.rand((1, 1, *SHAPE), generator=generator)


def test_no_artefacts_change_nothing(image):
    draws = [NOTHING]

    result = acquire(apply_gamma(apply_bias(image, draws), draws), draws, 1.0)

    torch.testing.assert_close(result, image)


def test_noise_over_no_signal_is_rayleigh_and_over_strong_signal_gaussian():
    draw = [replace(NOTHING, noise_deviation=0.05)]

    empty, strong = (rician(torch.full((1, 1, 64, 64, 64), s), draw) for s in (0.0, 1.0))

    assert empty.mean() == pytest.approx(0.05 * math.sqrt(math.pi / 2), rel=0.01)
    assert strong.std() == pytest.approx(0.05, rel=0.01)
    assert strong.mean() == pytest.approx(1 + 0.05**2 / 2, rel=1e-3)


def test_noise_differs_between_seeds_and_repeats_with_one():
    first, again, other = (
        rician(torch.ones(1, 1, 8, 8, 8), [replace(NOTHING, noise_deviation=0.1, noise_seed=s)])
        for s in (1, 1, 2)
    )

    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_average_along_their_own_axis_only(image, axis):
    spacing = [0.0, 0.0, 0.0]
    spacing[axis] = 5.0
    draw = replace(NOTHING, resolution_mm=tuple(spacing), thickness_mm=tuple(spacing))

    result = acquire(image, [draw], 1.0)

    change = [
        (result.diff(dim=a + 2).square().mean() / image.diff(dim=a + 2).square().mean()) for a in range(3)
    ]
    assert change[axis] < 0.1
    # Averaging five slices of independent noise leaves the pattern within a slice, at a fifth of its variance.
    assert all(change[a] < 0.35 for a in range(3))
    second = result.movedim(axis + 2, 0).diff(dim=0).diff(dim=0)
    kinks = (second.abs().flatten(1).amax(dim=1) > 1e-5).float().mean()
    assert kinks < 0.5  # linear between slices


def test_slices_keep_a_structure_in_its_place():
    image = torch.zeros(1, 1, *SHAPE)
    image[..., 12:20] = 1
    draw = replace(NOTHING, resolution_mm=(0, 0, 4.0), thickness_mm=(0, 0, 4.0), phase=(0, 0, 0.6))

    result = acquire(image, [draw], 1.0)

    weights = result[0, 0].sum(dim=(0, 1))
    center = (weights * torch.arange(SHAPE[2])).sum() / weights.sum()
    assert center == pytest.approx(15.5, abs=0.3)


def test_a_batch_of_different_acquisitions_equals_each_one_alone(image):
    draws = [sample_artefacts(Sampler(seed), ArtefactConfig()) for seed in range(5)]

    together = acquire(image.expand(5, -1, -1, -1, -1), draws, 1.5)

    for item, draw in enumerate(draws):
        torch.testing.assert_close(together[item : item + 1], acquire(image, [draw], 1.5))


def test_the_bias_field_is_as_strong_as_it_is_said_to_be():
    draws = [sample_artefacts(Sampler(s), ArtefactConfig(bias_strength=(0.5, 0.5))) for s in range(24)]

    change = (apply_bias(torch.ones(24, 1, *SHAPE), draws) - 1).abs().amax(dim=(1, 2, 3, 4))

    assert change.mean() > 0.9 * 0.5
    assert change.max() < 1.025 * 0.5


def test_the_noise_level_varies_as_much_as_it_is_said_to():
    config = ArtefactConfig(noise_strength=(0.5, 0.5), noise_deviation=(0.1, 0.1))
    draws = [sample_artefacts(Sampler(s), config) for s in range(24)]

    field = evaluate_fields([draw.noise_field for draw in draws], SHAPE, torch.device("cpu"))

    change = field.abs().amax(dim=(1, 2, 3, 4))
    assert change.mean() > 0.9 * 0.5
    assert change.max() < 1.025 * 0.5


def test_noise_is_as_strong_as_its_level_says_where_it_says_so():
    draw = replace(
        NOTHING,
        noise_deviation=0.02,
        noise_field=torch.tensor([-0.5, 0.5]).view(1, 2, 1, 1).expand(1, 2, 2, 2),
    )

    noise = rician(torch.ones(1, 1, 24, 40, 40), [draw])[0, 0] - 1

    assert noise[0].std() == pytest.approx(0.01, rel=0.08)
    assert noise[-1].std() == pytest.approx(0.03, rel=0.08)


def test_without_magnitude_noise_is_gaussian_and_values_are_clipped_at_the_end():
    draw = [replace(NOTHING, noise_deviation=0.05, gamma=2.0, magnitude=False)]
    images = torch.full((1, 1, 40, 44, 42), 0.5)
    images[..., :10], images[..., 32:] = -2.0, 1.6

    noisy = acquire(apply_gamma(images, draw), draw, 1.0)
    result = clip_to_window(noisy.clone(), draw)

    assert noisy[..., :10].mean() == pytest.approx(-2, abs=0.01)
    assert noisy[..., 10:32].mean() == pytest.approx(0.5, abs=0.002)
    assert noisy[..., 10:32].std() == pytest.approx(0.05, rel=0.02)
    assert (result[..., :10] == 0).all() and (result[..., 32:] == 1).all()


def test_gamma_is_a_power_of_the_image(image):
    result = apply_gamma(image, [replace(NOTHING, gamma=2.0)])

    torch.testing.assert_close(result, image**2)


def test_the_logarithm_of_gamma_has_the_asked_deviation():
    values = [math.log(sample_artefacts(Sampler(s), ArtefactConfig()).gamma) for s in range(400)]

    assert torch.tensor(values).std() == pytest.approx(0.6, rel=0.12)


def test_resolution_is_anisotropic_isotropic_or_untouched_as_often_as_asked():
    config = ArtefactConfig(full_resolution_probability=0.25, thick_slice_probability=0.5)
    drawn = [sample_artefacts(Sampler(s), config).resolution_mm for s in range(400)]

    kinds = [sum(r > 0 for r in resolution) for resolution in drawn]
    assert kinds.count(0) / 400 == pytest.approx(0.25, abs=0.07)
    assert kinds.count(1) / 400 == pytest.approx(0.375, abs=0.08)
    assert kinds.count(3) / 400 == pytest.approx(0.375, abs=0.08)
    assert {r.index(max(r)) for r in drawn if sum(v > 0 for v in r) == 1} == {0, 1, 2}
    assert max(max(r) for r in drawn) <= 8


@pytest.mark.parametrize("fwhm", [0.0, 0.5, 3.0])
def test_blurring_keeps_a_constant(fwhm):
    matrix = gaussian_matrix(17, fwhm, torch.device("cpu"))

    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(17))


def test_blurring_has_the_asked_width():
    matrix = gaussian_matrix(41, 6.0, torch.device("cpu"))

    profile = matrix[20] / matrix[20].max()
    assert profile[23] == pytest.approx(0.5, abs=1e-4)
