"""Coils brighten the surface, and a scan of part of the head has nothing above and below, in image and label."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from strokelabel.labels import TissueClass, default_label_table
from strokelabel.synthesis.config import SynthesisConfig
from strokelabel.synthesis.config_sections import CoilConfig, CoverageConfig
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.sampling import Sampler
from strokelabel.synthesis.scanner import (
    NO_COIL,
    CoilParameters,
    CoverageParameters,
    apply_coil,
    restrict,
    sample_coil,
    sample_coverage,
)
from support.head_phantom import ball_bank, phantom_head

SHAPE = (50, 60, 54)


def ball():
    axes = [torch.arange(n) - (n - 1) / 2 for n in SHAPE]
    distance = torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0) * 3.0
    return distance, (distance < 66).float()[None, None]


@pytest.mark.parametrize(("strength", "sign"), [(1.5, 1), (-0.5, -1)])
def test_a_surface_coil_changes_the_surface_and_hardly_the_inside(strength, sign):
    distance, image = ball()
    coil = CoilParameters(strength, 24.0, torch.full((1, 3, 3, 3), 1.0))

    gain = apply_coil(image, torch.ones_like(image), [coil], 3.0)[0, 0]

    deep, near = gain[distance < 25].mean(), gain[(distance > 60) & (distance < 66)].mean()
    assert deep == pytest.approx(1, abs=0.03)
    assert sign * float(near - 1) > 0.3 * abs(strength)


def test_without_a_coil_nothing_changes_and_in_a_batch_only_those_who_have_one():
    _, image = ball()
    coil = CoilParameters(1.0, 24.0, torch.ones(1, 3, 3, 3))
    both = image.repeat(2, 1, 1, 1, 1)

    assert apply_coil(image, image, [NO_COIL], 3.0) is image
    changed = apply_coil(both, both, [NO_COIL, coil], 3.0)
    torch.testing.assert_close(changed[0], image[0])
    assert changed[1].max() > 1.2


def test_coils_are_as_frequent_and_as_strong_as_asked():
    config = CoilConfig(probability=0.4, strength=(0.3, 2.0), inverted_probability=0.2)
    drawn = [sample_coil(Sampler(s), config).strength for s in range(300)]

    present = [strength for strength in drawn if strength]
    assert len(present) / 300 == pytest.approx(0.4, abs=0.08)
    assert sum(strength < 0 for strength in present) / len(present) == pytest.approx(0.2, abs=0.1)
    assert max(present) <= 2 and min(present) >= -1
    assert sample_coil(Sampler(1), CoilConfig()) is NO_COIL


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_stack_covers_so_many_millimetres_of_its_axis_and_all_of_the_others(axis):
    mask = torch.ones(1, 1, *SHAPE)

    kept = restrict(mask, [CoverageParameters(axis, 10.0, 25.0)], 1.5)[0, 0]

    planes = kept.movedim(axis, 0).flatten(1)
    assert ((planes == 0).all(dim=1) | (planes == 1).all(dim=1)).all()
    covered = planes[:, 0].nonzero().flatten()
    assert len(covered) * 1.5 == pytest.approx(25, abs=1.5)
    middle = (covered.float().mean() - (SHAPE[axis] - 1) / 2) * 1.5
    assert middle == pytest.approx(10, abs=0.8)


def test_a_thin_stack_has_one_plane_at_least_and_most_scans_are_whole():
    mask = torch.ones(2, 1, *SHAPE)

    kept = restrict(mask, [CoverageParameters(2, 0.1, 0.01), None], 3.0)

    assert kept[0].sum() == SHAPE[0] * SHAPE[1] and kept[1].all()
    assert restrict(mask, [None, None], 3.0) is mask


def test_thick_slices_are_stacked_along_their_own_axis_and_others_along_any():
    config = CoverageConfig(probability=1, axis_weights=(0, 0, 1))

    assert sample_coverage(Sampler(1), config, (0.0, 5.0, 0.0)).axis == 1
    assert sample_coverage(Sampler(1), config, (3.0, 3.0, 3.0)).axis == 2
    drawn = [sample_coverage(Sampler(s), CoverageConfig(probability=0.25), (0, 0, 0)) for s in range(200)]
    assert sum(d is not None for d in drawn) / 200 == pytest.approx(0.25, abs=0.08)
    assert {d.axis for d in drawn if d} == {0, 1, 2}
    with pytest.raises(ValueError, match="axis_weights"):
        CoverageConfig.model_validate({"axis_weights": (0, 0, 0)})


def test_image_and_label_end_where_the_stack_ends():
    config = SynthesisConfig.model_validate(
        {"shape": (56, 72, 64), "spacing_mm": 3.0, "lesion": {"count_weights": {1: 1}}}
    )
    bank = ball_bank([(-35, 5, 25)], radius_mm=20)
    generator = Synthesizer([phantom_head()], bank, default_label_table(), config)
    parameters = replace(generator.sample(2), coverage=CoverageParameters(2, 0.0, 30.0))

    batch = generator.apply([parameters])

    image, target = batch.image[0, 0], batch.target[0]
    inside = slice(27, 37)
    assert (target[..., :27] == TissueClass.BACKGROUND).all()
    assert (target[..., 37:] == TissueClass.BACKGROUND).all()
    assert (target[..., inside] != TissueClass.BACKGROUND).any()
    outside = torch.cat([image[..., :27], image[..., 37:]], dim=2)
    assert (outside == outside[0, 0, 0]).all() and image[..., inside].std() > 0.5
