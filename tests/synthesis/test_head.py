"""Label maps at the working resolution: nothing moves, nothing is lost, and partial volume is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strokelabel.labels import default_label_table
from strokelabel.synthesis.anatomy.deformation import sample_volume
from strokelabel.synthesis.anatomy.head import crop_to_view, make_head, stack_heads
from strokelabel.synthesis.prepared.dataset import PreparedBrain
from support.head_phantom import (
    CENTER_MM,
    SHAPE,
    SPACING_MM,
    phantom_affine,
    phantom_brain,
    phantom_head,
    phantom_ids,
)

TABLE = default_label_table()


def share_of(head, label_id):
    """Volume of a label in working voxels."""
    index = TABLE.index(label_id)
    fraction = head.fraction.float() / 255
    return float((fraction * (head.first == index) + (1 - fraction) * (head.second == index)).sum())


@pytest.mark.parametrize("spacing_mm", [3.0, 4.5, 6.0])
def test_structures_keep_their_volume_at_any_voxel_size(spacing_mm):
    head = phantom_head(spacing_mm=spacing_mm)

    for label_id in (2, 42, 511):
        expected = (phantom_ids() == label_id).sum() * SPACING_MM**3
        assert share_of(head, label_id) * spacing_mm**3 == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("spacing_mm", [3.0, 4.5, 6.0])
def test_a_marker_keeps_its_place_in_the_world(spacing_mm):
    brain = phantom_brain()
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[40:44, 10:14, 33:37] = TABLE.index(41)
    expected = (phantom_affine() @ [41.5, 11.5, 34.5, 1])[:3]

    head = make_head(PreparedBrain("m", labels, brain.affine, brain.to_icbm, 1.0), TABLE, spacing_mm)

    np.testing.assert_allclose(head.center_mm, expected, atol=0.5)


def test_the_brains_centre_is_found_in_mm():
    np.testing.assert_allclose(phantom_head().center_mm, CENTER_MM, atol=0.5)


def test_tissue_maps_sum_to_at_most_one_and_split_half_and_half_into_partial_volume():
    head = phantom_head(spacing_mm=6.0)
    total = head.tissues.int().sum(dim=0)

    assert total.max() <= 255 + 3
    gray, partial, white, csf = (m.float() / 255 for m in head.tissues)
    assert partial.max() > 0.9
    assert (gray[partial > 0.9] < 0.1).all() and (white[partial > 0.9] < 0.1).all()
    assert csf.max() == 1


def test_lesions_are_allowed_in_the_parenchyma_but_not_in_ventricles_or_outside_the_brain():
    head = phantom_head()
    ids = phantom_ids()
    allowed = head.lesion_allowed.float() / 255

    assert allowed[torch.from_numpy((ids == 2) | (ids == 41))].mean() > 0.97
    assert allowed[torch.from_numpy((ids == 511) | (ids == 0))].mean() < 0.01
    inside = torch.from_numpy(np.isin(ids, (4, 43)))
    assert allowed[inside].mean() < 0.2


def test_heads_of_unequal_size_share_a_batch_without_moving():
    small = phantom_head(spacing_mm=6.0)
    large = phantom_head(spacing_mm=4.5)

    batch = stack_heads([small, large])

    x, y, z = small.first.shape
    assert torch.equal(batch.first[0, :x, :y, :z], small.first)
    assert torch.equal(batch.first[1], large.first)
    assert batch.tissues.shape == (2, 4, *large.first.shape)


def test_the_part_of_a_head_that_an_image_shows_gives_the_same_image():
    head = stack_heads([phantom_head(), phantom_head(spacing_mm=4.5)])
    axes = [(torch.arange(n) - (n - 1) / 2) * 3.0 for n in (20, 24, 16)]
    turn = torch.tensor([[0.9, 0.3, 0.1], [-0.3, 0.9, 0.2], [0.0, -0.2, 1.0]])
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) @ turn + torch.tensor([20.0, -30.0, 25.0])
    coordinates = torch.stack([grid, 1.2 * grid])

    part = crop_to_view(head, coordinates)

    assert part.first.numel() < 0.7 * head.first.numel()
    whole_view, view = (
        sample_volume(h.brain[:, None].float(), coordinates, h.matrix, h.offset) for h in (head, part)
    )
    torch.testing.assert_close(view, whole_view, atol=0.05, rtol=0)
    assert view.std() > 10


def test_a_view_beside_the_head_shows_air():
    head = stack_heads([phantom_head()])
    grid = torch.rand(1, 8, 9, 10, 3) + torch.tensor([900.0, 0.0, 0.0])

    part = crop_to_view(head, grid)

    assert min(part.first.shape[1:]) >= 2
    assert sample_volume(part.brain[:, None].float(), grid, part.matrix, part.offset).max() == 0
