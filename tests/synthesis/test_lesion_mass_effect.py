"""Swelling pushes the anatomy outwards, by as much as stated, without folds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelabel.synthesis.config import MassEffectConfig
from strokelabel.synthesis.fields import CoarseGrid
from strokelabel.synthesis.lesions.mass_effect import (
    SwellingParameters,
    displacement_field,
    sample_swelling,
    swell,
)
from strokelabel.synthesis.sampling import Sampler

SHAPE = (44, 52, 40)
SPACING_MM = 3.0
GRID = CoarseGrid(SHAPE, SPACING_MM, torch.device("cpu"))


def positions():
    """(1, x, y, z, 3) mm, the origin in the middle."""
    axes = [(torch.arange(n) - (n - 1) / 2) * SPACING_MM for n in SHAPE]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)[None].float()


def ball(center, radius):
    return ((positions() - torch.tensor(center)).norm(dim=-1) < radius).float()[:, None]


BRAIN = ((positions() / torch.tensor([60.0, 72.0, 54.0])).norm(dim=-1) < 1).float()[:, None]


def swelling(displacement=5.0, sigma=12.0, minimum=10.0):
    return SwellingParameters(displacement, sigma, minimum)


def determinants(moved):
    """Jacobian determinant of a (1, x, y, z, 3) map at its voxels."""
    columns = torch.gradient(moved[0], spacing=SPACING_MM, dim=(0, 1, 2))
    return torch.linalg.det(torch.stack(columns, dim=-1))


@settings(max_examples=20, deadline=None)
@given(
    x=st.floats(-45, 45),
    y=st.floats(-50, 50),
    radius=st.floats(12, 45),
    displacement=st.floats(0, 12),
    sigma=st.floats(5, 18),
)
def test_the_push_never_folds_the_anatomy(x, y, radius, displacement, sigma):
    soft = ball((x, y, 0.0), radius)

    moved = swell([swelling(displacement, sigma)], soft, positions(), BRAIN, GRID)

    assert determinants(moved).min() > 0


def test_the_anatomy_around_a_large_lesion_moves_outwards_by_the_stated_distance():
    center = torch.tensor([-25.0, 0.0, 0.0])
    field = displacement_field([swelling(4.0)], ball(center.tolist(), 27), BRAIN, GRID)

    size = field.norm(dim=1)[0]
    outwards = (positions()[0] - center).permute(3, 0, 1, 2)
    along = (field[0] * outwards).sum(dim=0)
    assert size.max() == pytest.approx(4.0, rel=0.05)
    assert (along[size > 1] > 0).all()


def test_the_skull_stays_where_it_is():
    moved = swell([swelling(6.0)], ball((-40.0, 0.0, 0.0), 25), positions(), BRAIN, GRID)

    outside = (positions() / torch.tensor([66.0, 78.0, 60.0])).norm(dim=-1) > 1
    assert (moved - positions()).norm(dim=-1)[outside].max() < 0.7


def test_small_lesions_push_nothing_and_larger_ones_more():
    small, middle, large = (
        float(displacement_field([swelling()], ball((-20.0, 0.0, 0.0), r), BRAIN, GRID).norm(dim=1).max())
        for r in (10, 16, 30)
    )

    assert small == 0 and 0 < middle < large


def test_what_is_taken_from_inwards_of_the_border_is_what_was_pushed_outwards():
    moved = swell([swelling(5.0)], ball((-25.0, 0.0, 0.0), 27), positions(), BRAIN, GRID)

    midline = (positions()[0, ..., 0].abs() < 6) & (positions()[0, ..., 1].abs() < 10)
    shift = (moved - positions())[0, ..., 0][midline & (positions()[0, ..., 2].abs() < 10)]
    assert shift.mean() < -1  # anatomy at the midline comes from further left: it moved right


def test_only_fresh_lesions_swell_and_only_if_the_recipe_says_so():
    on, off = MassEffectConfig(probability=1), MassEffectConfig()

    assert sample_swelling(Sampler(1), on, "acute").displacement_mm >= 1
    assert sample_swelling(Sampler(1), on, "chronic").displacement_mm == 0
    assert sample_swelling(Sampler(1), on, "plain").displacement_mm == 0
    assert sample_swelling(Sampler(1), off, "acute").displacement_mm == 0
