"""Deformations are what their parameters say, in mm and degrees, and never fold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from strokelabel.synthesis.anatomy.deformation import (
    DeformationParameters,
    affine_matrix,
    displacement,
    head_coordinates,
    sample_deformation,
    sample_volume,
)
from strokelabel.synthesis.config import DeformationConfig
from strokelabel.synthesis.fields import evaluate_fields, sample_nodes, spline_basis
from strokelabel.synthesis.sampling import Sampler

SHAPE = (18, 24, 20)
IDENTITY = DeformationParameters(
    rotation_degrees=(0.0, 0.0, 0.0),
    shear=(0.0, 0.0, 0.0),
    zoom=(1.0, 1.0, 1.0),
    translation_mm=(0.0, 0.0, 0.0),
    flip=(False, False, False),
    velocity_mm=torch.zeros(3, 2, 2, 2),
)


def coordinates(parameters, center=(0.0, 0.0, 0.0), spacing=2.0):
    return head_coordinates([parameters], torch.tensor([center]), SHAPE, spacing)[0]


def test_without_deformation_voxels_lie_about_the_heads_centre():
    points = coordinates(IDENTITY, center=(3.0, -7.0, 11.0))

    np.testing.assert_allclose(points.mean(dim=(0, 1, 2)), (3, -7, 11), atol=1e-4)
    np.testing.assert_allclose(points[1, 2, 3] - points[0, 0, 0], (2, 4, 6), atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotations_are_in_degrees_about_their_axis(axis):
    angles = [0.0, 0.0, 0.0]
    angles[axis] = 90.0
    matrix = affine_matrix(replace(IDENTITY, rotation_degrees=tuple(angles)))

    unit = torch.eye(3)
    first, second = [(1, 2), (2, 0), (0, 1)][axis]
    torch.testing.assert_close(matrix @ unit[first], unit[second], atol=1e-6, rtol=0)
    torch.testing.assert_close(matrix @ unit[axis], unit[axis], atol=1e-6, rtol=0)


def test_a_flip_mirrors_its_own_axis():
    points = coordinates(replace(IDENTITY, flip=(True, False, False)))

    torch.testing.assert_close(points[..., 0], coordinates(IDENTITY)[..., 0].flip(0))
    torch.testing.assert_close(points[..., 1:], coordinates(IDENTITY)[..., 1:])


def test_zooming_in_shows_less_of_the_head():
    points = coordinates(replace(IDENTITY, zoom=(2.0, 2.0, 2.0)))

    torch.testing.assert_close(points * 2, coordinates(IDENTITY))


def test_elastic_displacement_stays_within_its_bound_and_never_folds():
    config = DeformationConfig(elastic_fraction=(0.05, 0.05))
    for seed in range(6):
        draw = sample_deformation(Sampler(seed), config, (200.0, 200.0, 200.0))
        moved = displacement([draw.velocity_mm], (40, 40, 40), 5.0, torch.device("cpu"))[0]
        assert moved.abs().max() <= 10.0 * 1.025
        gradients = torch.stack([moved.diff(dim=a)[:39, :39, :39] / 5.0 for a in range(3)], dim=-1)
        jacobian = torch.linalg.det(gradients + torch.eye(3))
        assert jacobian.min() > 0, f"folds with seed {seed}"


def test_drawn_parameters_stay_in_their_ranges():
    draws = [sample_deformation(Sampler(s), DeformationConfig(), (160.0, 200.0, 180.0)) for s in range(200)]

    angles = torch.tensor([d.rotation_degrees for d in draws])
    assert angles.abs().max() <= 15 and angles.abs().max() > 14
    assert torch.tensor([d.shear for d in draws]).abs().max() <= 0.012
    zooms = torch.tensor([d.zoom for d in draws])
    assert zooms.min() >= 0.85 and zooms.max() <= 1.15
    nodes = {n for d in draws for n in d.velocity_mm.shape[1:]}
    assert nodes == set(range(2, 11))
    flips = torch.tensor([d.flip for d in draws]).float().mean(dim=0)
    assert ((flips - 0.8).abs() < 0.1).all()


def test_sampling_reads_volumes_at_world_positions():
    volume = torch.zeros(1, 1, *SHAPE)
    volume[0, 0, 4, 11, 9] = 1
    affine = torch.tensor(
        [[0.0, -2.0, 0.3, 5.0], [1.5, 0.0, 0.0, -3.0], [0.1, 0.0, 3.0, 2.0], [0.0, 0.0, 0.0, 1.0]]
    )
    inverse = torch.linalg.inv(affine)
    world = (affine @ torch.tensor([4.0, 11.0, 9.0, 1.0]))[:3]

    value = sample_volume(volume, world.view(1, 1, 1, 1, 3), inverse[None, :3, :3], inverse[None, :3, 3])

    assert value.item() == pytest.approx(1, abs=1e-4)


def test_the_greatest_displacement_is_what_the_setting_says():
    config = DeformationConfig(elastic_fraction=(0.04, 0.04))
    greatest = []
    for seed in range(24):
        draw = sample_deformation(Sampler(seed), config, (200.0, 200.0, 200.0))
        moved = displacement([draw.velocity_mm], (40, 40, 40), 5.0, torch.device("cpu"))
        greatest.append(float(moved.abs().max()))

    assert np.mean(greatest) > 0.85 * 8.0
    assert max(greatest) < 1.03 * 8.0


@pytest.mark.parametrize("nodes", [2, 3, 7, 10])
def test_a_spline_passes_through_its_nodes_and_keeps_a_constant(nodes):
    values = Sampler(nodes).uniform_tensor((nodes,), -1, 1)

    torch.testing.assert_close(spline_basis(nodes, nodes) @ values, values)
    torch.testing.assert_close(spline_basis(nodes, 4 * (nodes - 1) + 1)[::4] @ values, values)
    torch.testing.assert_close(spline_basis(nodes, 33).sum(dim=1), torch.ones(33))


@pytest.mark.parametrize("nodes", [(2, 2), (2, 7), (4, 4), (10, 10)])
def test_drawn_fields_reach_what_they_may_and_exceed_it_by_no_more_than_a_fortieth(nodes):
    greatest = [
        float(
            evaluate_fields([sample_nodes(Sampler(s), nodes)], (56, 72, 60), torch.device("cpu")).abs().max()
        )
        for s in range(20)
    ]

    assert np.mean(greatest) > 0.85
    assert max(greatest) < 1.025


def test_fields_with_different_node_counts_share_a_batch():
    controls = [Sampler(s).uniform_tensor((2, n, n + 1, n + 2), -1, 1) for s, n in enumerate((2, 5, 8))]

    together = evaluate_fields(controls, SHAPE, torch.device("cpu"))

    for item, control in enumerate(controls):
        torch.testing.assert_close(together[item], evaluate_fields([control], SHAPE, torch.device("cpu"))[0])


def warped(seed):
    return sample_deformation(Sampler(seed), DeformationConfig(elastic_fraction=(0.03, 0.03)), (36, 48, 40))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_subject_seen_as_it_is_lies_where_its_own_deformation_says(seed):
    center = torch.tensor([[3.0, -7.0, 11.0]])
    alone = head_coordinates([warped(seed)], center, SHAPE, 2.0)

    seen = head_coordinates([IDENTITY], center, SHAPE, 2.0, [warped(seed)])
    undeformed = head_coordinates([warped(seed)], center, SHAPE, 2.0, [IDENTITY])

    torch.testing.assert_close(seen, alone, rtol=0, atol=1e-3)
    torch.testing.assert_close(undeformed, alone, rtol=0, atol=1e-3)


def test_a_view_of_a_subject_moves_it_as_a_whole():
    center = torch.zeros(1, 3)
    moved = replace(IDENTITY, translation_mm=(4.0, 0.0, -2.0))  # whole voxels of 2 mm

    still, seen = (head_coordinates([view], center, SHAPE, 2.0, [warped(5)])[0] for view in (IDENTITY, moved))

    torch.testing.assert_close(seen[:-2, :, 1:], still[2:, :, :-1], rtol=0, atol=1e-3)
