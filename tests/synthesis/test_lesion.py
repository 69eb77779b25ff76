"""Lesions are labelled where they are visible, lie where they belong, and fade within bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strokelabel.synthesis.config import LesionConfig
from strokelabel.synthesis.lesions.lesion import (
    LesionDraw,
    LesionParameters,
    place_lesions,
    sample_lesions,
    soften,
)
from strokelabel.synthesis.lesions.stage import NO_PENUMBRA, Penumbra, fade, sample_penumbra
from strokelabel.synthesis.sampling import Sampler
from support.head_phantom import ball_bank


def ball(radius, margin=6):
    side = torch.arange(-(radius + margin), radius + margin + 1)
    x, y, z = torch.meshgrid(side, side, side, indexing="ij")
    return x**2 + y**2 + z**2 <= radius**2


def parameters(*draws, shift=(0.0, 0.0, 0.0), zoom=1.0):
    return LesionParameters(tuple(draws), shift, zoom)


def plain(index=0, mirror=False, penumbra=NO_PENUMBRA):
    return LesionDraw(index, mirror, 0, 0, 0.5, penumbra)


def label(placed, item=0):
    return placed.soft[item, 0] > 0.5


def mm_grid(shape=(70, 80, 66), spacing=2.0):
    axes = [(torch.arange(n) - (n - 1) / 2) * spacing for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).float()[None]


def center_of(placed, grid):
    return grid[0][label(placed)].mean(0).numpy()


@pytest.mark.parametrize("radius", [1, 2, 5, 10])
@pytest.mark.parametrize("erosion", [0, 2])
@pytest.mark.parametrize("dilation", [0, 2])
@pytest.mark.parametrize("sigma", [0.5, 1.5])
def test_a_softened_mask_stays_in_range_and_always_has_voxels_that_count_as_lesion(
    radius, erosion, dilation, sigma
):
    soft = soften(ball(radius), erosion, dilation, sigma)

    assert soft.min() >= 0 and soft.max() == 1
    assert (soft > 0.5).any()


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_softening_alone_keeps_the_volume_of_what_is_visible(sigma):
    mask = ball(8)

    assert (soften(mask, 0, 0, sigma) > 0.5).sum() == pytest.approx(float(mask.sum()), rel=0.06)


def test_erosion_and_dilation_change_what_is_visible():
    shrunk, same, grown = ((soften(ball(8), *edge, 0.5) > 0.5).sum() for edge in ((2, 0), (0, 0), (0, 2)))

    assert shrunk < 0.7 * same and grown > 1.3 * same


def test_a_lesion_lies_at_its_icbm_position_in_a_head_that_is_already_in_icbm_space():
    grid = mm_grid()

    placed = place_lesions([parameters(plain())], ball_bank([(-40, 12, 22)]), grid, torch.eye(4)[None])

    np.testing.assert_allclose(center_of(placed, grid), (-40, 12, 22), atol=0.7)


def test_a_mirrored_lesion_lies_at_the_same_place_of_the_other_hemisphere():
    grid = mm_grid()

    placed = place_lesions(
        [parameters(plain(mirror=True))], ball_bank([(-40, 12, 22)]), grid, torch.eye(4)[None]
    )

    np.testing.assert_allclose(center_of(placed, grid), (40, 12, 22), atol=0.7)


def test_lesions_follow_the_heads_own_affine_to_icbm_space():
    grid = mm_grid()
    to_icbm = torch.tensor(
        [[0.9, 0.1, 0.0, -5.0], [-0.1, 1.0, 0.05, 8.0], [0.0, -0.05, 1.1, 3.0], [0.0, 0.0, 0.0, 1.0]]
    )
    expected = torch.linalg.solve(to_icbm, torch.tensor([-40.0, 12.0, 22.0, 1.0]))[:3].numpy()

    placed = place_lesions([parameters(plain())], ball_bank([(-40, 12, 22)]), grid, to_icbm[None])

    np.testing.assert_allclose(center_of(placed, grid), expected, atol=0.7)


def test_a_shift_moves_lesions_by_so_many_mm_and_a_zoom_scales_their_volume():
    grid = mm_grid()
    bank = ball_bank([(-30, 0, 10)])
    still = place_lesions([parameters(plain())], bank, grid, torch.eye(4)[None])
    moved = place_lesions(
        [parameters(plain(), shift=(6.0, -4.0, 2.0), zoom=1.2)], bank, grid, torch.eye(4)[None]
    )

    np.testing.assert_allclose(center_of(moved, grid) - center_of(still, grid), (6, -4, 2), atol=0.8)
    ratio = float(label(moved).sum() / label(still).sum())
    assert ratio == pytest.approx(1.2**3, rel=0.06)


def test_several_lesions_are_all_there_and_their_volumes_add_up():
    grid = mm_grid()
    bank = ball_bank([(-40, 12, 22), (30, -40, 10)], radius_mm=10)
    one, other, both = (
        label(place_lesions([parameters(*draws)], bank, grid, torch.eye(4)[None]))
        for draws in ((plain(0),), (plain(1),), (plain(0), plain(1)))
    )

    assert torch.equal(both, one | other)
    assert both.sum() == one.sum() + other.sum()


def test_heads_of_a_batch_do_not_share_their_lesions():
    grid = mm_grid().expand(3, -1, -1, -1, -1)
    bank = ball_bank([(-40, 12, 22), (30, -40, 10)], radius_mm=10)
    draws = [parameters(plain(0)), parameters(), parameters(plain(1), plain(0))]

    together = place_lesions(draws, bank, grid, torch.eye(4).expand(3, 4, 4))

    for item, draw in enumerate(draws):
        alone = place_lesions([draw], bank, grid[:1], torch.eye(4)[None])
        torch.testing.assert_close(together.soft[item], alone.soft[0], atol=1e-4, rtol=0)
    assert together.soft[1].abs().max() == 0


def test_every_voxel_of_a_lesion_belongs_to_it():
    grid = mm_grid().expand(2, -1, -1, -1, -1)
    bank = ball_bank([(-40, 12, 22), (30, -40, 10)], radius_mm=10)

    placed = place_lesions(
        [parameters(plain(1), plain(0)), parameters(plain(0))], bank, grid, torch.eye(4).expand(2, 4, 4)
    )

    region = (slice(None), *placed.region)
    owner, inside, x = placed.owner, placed.soft[:, 0][region] > 0.5, grid[..., 0][region]
    assert (owner[0][inside[0] & (x[0] > 0)] == 0).all()
    assert (owner[0][inside[0] & (x[0] < 0)] == 1).all()
    assert (owner[1][inside[1]] == 0).all()


def test_the_penumbra_thins_out_its_own_lesion_and_leaves_the_label():
    grid = mm_grid()
    bank = ball_bank([(-40, 12, 22), (30, -40, 10)], radius_mm=10)
    faint = Penumbra(0.25, torch.full((1, 3, 3, 3), -1.0))

    placed = place_lesions([parameters(plain(0), plain(1, penumbra=faint))], bank, grid, torch.eye(4)[None])

    region = (slice(None), *placed.region)
    soft, weight, left = placed.soft[:, 0][region], placed.weight[:, 0], grid[..., 0][region] < 0
    torch.testing.assert_close(weight[left], soft[left])
    torch.testing.assert_close(weight[~left], 0.25 * soft[~left], atol=1e-4, rtol=0)
    assert (soft[~left] > 0.5).any()


@pytest.mark.parametrize("floor", [0.1, 0.6])
def test_the_penumbra_spans_nearly_all_from_its_floor_to_one(floor):
    config = LesionConfig(penumbra_floor=(floor, floor), penumbra_probability=1)
    lowest, highest = [], []
    for seed in range(20):
        field = fade(torch.ones(30, 34, 32), sample_penumbra(Sampler(seed), config))
        lowest.append(float(field.min()))
        highest.append(float(field.max()))

    assert min(lowest) >= floor - 1e-6 and max(highest) <= 1 + 1e-6
    assert np.mean(lowest) < floor + 0.15 * (1 - floor)
    assert np.mean(highest) > 1 - 0.15 * (1 - floor)


def test_lesions_of_one_head_have_penumbras_of_their_own():
    config = LesionConfig(count_weights={3: 1}, penumbra_probability=1)

    floors = {draw.penumbra.floor for draw in sample_lesions(Sampler(2), config, 5).draws}

    assert len(floors) == 3


def test_parameters_stay_in_their_ranges_and_every_count_occurs():
    config = LesionConfig(count_weights={0: 1, 1: 1, 2: 1}, shift_mm=(-3, 3), zoom=(0.9, 1.1))
    draws = [sample_lesions(Sampler(seed), config, 7) for seed in range(120)]

    assert {len(d.draws) for d in draws} == {0, 1, 2}
    assert all(-3 <= s <= 3 for d in draws for s in d.shift_mm)
    assert all(0.9 <= d.zoom <= 1.1 for d in draws)
    assert {lesion.index for d in draws for lesion in d.draws} == set(range(7))
    assert {lesion.erosion_voxels for d in draws for lesion in d.draws} == {0, 1, 2}


def test_an_empty_bank_gives_heads_without_lesions():
    assert sample_lesions(Sampler(0), LesionConfig(count_weights={2: 1}), 0).draws == ()
