"""Where small lesions go: to the places of the bank's lesions, in showers, and as often as the recipe says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from strokelabel.synthesis.config import LesionConfig
from strokelabel.synthesis.lesions.arrangement import BalancedSelection, LesionArranger, SpatialPrior
from strokelabel.synthesis.lesions.bank import BLOB, LesionBank, blob
from strokelabel.synthesis.lesions.lesion import LesionParameters, place_lesions, sample_lesions
from strokelabel.synthesis.sampling import Sampler
from support.head_phantom import ball_bank

SMALL = ball_bank([(-30, 20, 10), (-35, -40, 30)], radius_mm=5)
LARGE = ball_bank([(-45, 5, 20)], radius_mm=22)
BANK = LesionBank.from_lesions(
    [SMALL.lesion(0), SMALL.lesion(1), LARGE.lesion(0)], SMALL.grid_shape, SMALL.affine
)


def arranged(seed, counts=None, **switches):
    config = LesionConfig.model_validate({"count_weights": counts or {1: 1.0}, **switches})
    lesions = sample_lesions(Sampler(seed), config, len(BANK))
    return LesionArranger(BANK, config).arrange(Sampler(1000 + seed), lesions)


def shower(seed, extent="brain", **changes):
    embolic = {"probability": 1, "keep_probability": 0, "extent_weights": {extent: 1}, **changes}
    return arranged(seed, embolic=embolic)


def test_the_prior_is_a_density_that_is_the_same_left_and_right():
    prior = SpatialPrior.from_bank(SMALL, 10)

    assert prior.density.sum() == pytest.approx(1)
    np.testing.assert_allclose(prior.density, prior.density[::-1], atol=1e-12)


def test_positions_of_the_prior_gather_around_the_masks_and_their_mirror_images():
    positions = SpatialPrior.from_bank(SMALL, 6).positions(Sampler(1), 400)

    centers = np.array([[sign * x, y, z] for sign in (-1, 1) for x, y, z in ((-30, 20, 10), (-35, -40, 30))])
    distances = np.linalg.norm(positions[:, None] - centers, axis=2)
    assert np.mean(distances.min(axis=1) < 15) > 0.97
    assert (np.bincount(distances.argmin(axis=1), minlength=4) > 60).all()
    assert positions[:, 0].mean() == pytest.approx(0, abs=6)


def test_each_mask_counts_once_in_the_prior_whatever_its_volume():
    prior = SpatialPrior.from_bank(BANK, 0)
    first = np.array(prior.origin_mm)
    z = first[2] + prior.cell_mm * (np.arange(prior.density.shape[2]) + 0.5)
    y = first[1] + prior.cell_mm * (np.arange(prior.density.shape[1]) + 0.5)

    behind = prior.density[:, y < -30][:, :, z > 20].sum()

    assert behind == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize(("balance", "rare"), [(0.0, 0.1), (1.0, 0.5)])
def test_volume_balance_turns_frequent_sizes_into_equal_ones(balance, rare):
    volumes = np.array([100.0] * 9 + [1.0])

    selection = BalancedSelection(volumes, balance)
    sampler = Sampler(0)
    drawn = np.array([selection.draw(sampler) for _ in range(600)])

    assert selection.probabilities[9] == pytest.approx(rare)
    assert np.mean(drawn == 9) == pytest.approx(rare, abs=0.07)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**40), voxels=st.integers(1, 2500))
def test_a_blob_has_exactly_its_volume_and_is_nearly_one_piece(seed, voxels):
    mask = blob(seed, voxels).numpy()

    pieces, count = ndimage.label(mask)
    assert mask.sum() == voxels
    assert max(np.bincount(pieces.ravel())[1:]) >= 0.8 * voxels, count


def test_a_shower_has_as_many_lesions_of_such_volumes_as_asked_for():
    showers = [shower(seed, count=(4, 9), volume_ml=(0.1, 1.0)) for seed in range(30)]

    fragments = [f for lesions in showers for f in lesions.fragments]
    assert {len(lesions.fragments) for lesions in showers} == set(range(4, 10))
    assert all(not lesions.draws for lesions in showers)
    assert all(0.1 <= f.volume_ml <= 1.0 for f in fragments)
    assert {f.index for f in fragments} == {BLOB, 0}  # balls of 0.5 ml count as small masks


def test_a_shower_in_one_hemisphere_stays_there():
    for seed in range(10):
        sides = {np.sign(f.center_mm[0]) for f in shower(seed, "hemisphere").fragments}
        assert len(sides) == 1


def test_a_shower_in_one_territory_lies_inside_a_large_mask_or_its_mirror_image():
    for seed in range(10):
        centers = np.abs([f.center_mm for f in shower(seed, "territory").fragments])
        assert np.linalg.norm(centers - [45, 5, 20], axis=1).max() <= 22.1


def test_heads_without_lesions_get_no_shower_and_some_heads_keep_their_other_lesions():
    healthy = arranged(3, {0: 1.0}, embolic={"probability": 1}, volume_balance=1)
    both = arranged(3, embolic={"probability": 1, "keep_probability": 1})

    assert not healthy.draws and not healthy.fragments
    assert len(both.draws) == 1 and both.fragments


def test_only_small_masks_are_moved_by_the_prior():
    moved = [arranged(seed, spatial_prior={"probability": 1, "maximum_volume_ml": 5}) for seed in range(40)]

    assert {d.index for lesions in moved for d in lesions.draws} == {2}
    assert {f.index for lesions in moved for f in lesions.fragments} == {0, 1}


def test_fragments_lie_where_they_were_put_with_the_volume_they_have():
    lesions = shower(5, count=(1, 1), volume_ml=(2.0, 2.0), blob_probability=1)
    lesions = type(lesions)((), (0.0, 0.0, 0.0), 1.0, lesions.fragments)
    center = np.array(lesions.fragments[0].center_mm)
    axes = [torch.arange(-12.0, 13.0) + round(float(c)) for c in center]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)[None]

    hard = place_lesions([lesions], BANK, grid, torch.eye(4)[None]).soft[0, 0] > 0.5

    assert hard.sum() == pytest.approx(2000, rel=0.1)
    np.testing.assert_allclose(grid[0][hard].mean(0).numpy(), center, atol=2.5)


def test_the_smallest_emboli_are_labelled_at_the_voxel_size_of_the_shipped_recipe():
    grid = torch.stack(torch.meshgrid(*[torch.arange(-30.0, 30.0, 1.5)] * 3, indexing="ij"), -1)[None]
    for seed in range(12):
        fragment = shower(seed, count=(1, 1), volume_ml=(0.15, 0.15), blob_probability=1).fragments[0]
        lesions = LesionParameters((), (0.0, 0.0, 0.0), 1.0, (replace(fragment, center_mm=(0.4, -0.3, 0.7)),))

        label = place_lesions([lesions], BANK, grid, torch.eye(4)[None]).soft > 0.5

        assert 0.08 < float(label.sum()) * 1.5**3 / 1000 < 0.25
