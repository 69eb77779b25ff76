"""Contrast: the air is air, both sides look alike, and clinical families look like their sequences."""

from __future__ import annotations

import pytest
import torch

from strokelabel.labels import default_label_table
from strokelabel.synthesis.config import ContrastConfig, LesionConfig
from strokelabel.synthesis.contrast.gaussian_mixture import CT_AIR, look_up, sample_contrast, texture
from strokelabel.synthesis.sampling import Sampler

TABLE = default_label_table()
GRAY, WHITE, CSF, AIR, BONE, SKIN = (TABLE.index(i) for i in (3, 2, 24, 0, 515, 511))


def draws(family="random", count=60, **changes):
    config = ContrastConfig(families={family: 1.0}, **changes)
    return [
        sample_contrast(Sampler(s), config, LesionConfig(minimum_contrast=0.1), TABLE) for s in range(count)
    ]


def test_only_the_background_label_is_ever_black_by_rule():
    drawn = draws(background_zero_probability=1.0)

    assert all(d.means[AIR] == 0 and d.deviations[AIR] == 0 for d in drawn)
    assert all(d.means[GRAY] > 0 for d in drawn)


def test_the_air_is_noisy_and_dark_as_often_as_asked():
    drawn = draws(count=300, background_zero_probability=0.3)

    zero = sum(float(d.means[AIR]) == 0 for d in drawn) / 300
    assert zero == pytest.approx(0.3, abs=0.08)
    assert max(float(d.means[AIR]) for d in drawn) <= 0.1


def test_both_sides_of_a_structure_share_mean_and_deviation():
    for drawn in draws(shared_mean_probability=0.0):
        for label in TABLE.labels:
            other = TABLE.index(label.mirror)
            own = TABLE.index(label.id)
            assert drawn.means[own] == drawn.means[other]
            assert drawn.deviations[own] == drawn.deviations[other]


@pytest.mark.parametrize(
    ("family", "brightest_first"),
    [
        ("t1", (WHITE, GRAY, CSF)),
        ("t2", (CSF, GRAY, WHITE)),
        ("flair", (GRAY, WHITE, CSF)),
        ("dwi", (GRAY, WHITE, CSF)),
        ("adc", (CSF, GRAY, WHITE)),
        ("ct", (BONE, GRAY, WHITE)),
        ("ct", (GRAY, WHITE, CSF)),
    ],
)
def test_clinical_families_order_the_tissues_as_their_sequence_does(family, brightest_first):
    means = torch.stack([d.means for d in draws(family)]).mean(dim=0)

    first, second, third = (float(means[i]) for i in brightest_first)
    assert first > second > third


@pytest.mark.parametrize(
    ("family", "darker"),
    [("t1", True), ("t2", False), ("flair", False), ("dwi", False), ("adc", True), ("ct", True)],
)
def test_lesions_are_dark_on_t1_adc_and_ct_and_bright_elsewhere(family, darker):
    for drawn in draws(family):
        assert (drawn.lesion_means[0, 0, 0] < drawn.means[WHITE]) == darker


def test_on_ct_gray_is_barely_above_white_bone_above_the_window_and_air_far_below_it():
    drawn = draws("ct")

    difference = torch.stack([d.means[GRAY] - d.means[WHITE] for d in drawn])
    assert 0.04 < difference.mean() < 0.14
    assert all(d.means[BONE] > 1.3 and d.means[AIR] == CT_AIR and d.deviations[AIR] == 0 for d in drawn)
    assert min(float(d.means[SKIN]) for d in drawn) < -0.5  # fat


def test_the_least_contrast_of_a_lesion_may_differ_between_families():
    lesion = LesionConfig(minimum_contrast=0.1, minimum_contrast_of={"adc": 0.05})

    assert (lesion.contrast_of("adc"), lesion.contrast_of("t1")) == (0.05, 0.1)
    config = ContrastConfig(families={"adc": 1.0})
    drawn = [sample_contrast(Sampler(s), config, lesion, TABLE) for s in range(100)]
    near = [min(float(d.means[i] - d.lesion_means[0, 0]) for i in (GRAY, WHITE)) for d in drawn]
    assert sum(0.02 < n < 0.09 for n in near) > 20
    with pytest.raises(ValueError, match="minimum_contrast_of"):
        LesionConfig.model_validate({"minimum_contrast_of": {"swi": 0.1}})


def test_a_lesion_differs_from_gray_and_white_matter_by_the_asked_contrast_where_it_can():
    drawn = draws(count=200, shared_mean_probability=1.0)

    distances = [
        min(abs(float(d.lesion_means[0, 0, 0]) - float(d.means[i])) for i in (GRAY, WHITE)) for d in drawn
    ]
    assert (
        sum(distance > 0.03 for distance in distances) / 200 > 0.97
    )  # labels scatter about their group's mean


def test_random_means_fill_their_whole_range():
    values = torch.cat([d.means for d in draws(count=40, shared_mean_probability=0.0)])

    assert values.min() < 0.05 and values.max() > 0.95


@pytest.mark.parametrize("fwhm", [0.0, 1.0, 2.0])
def test_texture_keeps_unit_variance_however_smooth(fwhm):
    drawn = draws(count=1, texture_fwhm_voxels=(fwhm, fwhm))

    noise = texture(drawn, (40, 44, 42), torch.device("cpu"))

    assert noise[..., 5:-5, 5:-5, 5:-5].std() == pytest.approx(1.0, abs=0.05)


def test_a_voxel_of_two_structures_gets_the_mixture_of_their_values():
    one_feature = torch.tensor([[0.0, 1.0, 3.0], [5.0, 6.0, 8.0]])
    values = torch.stack([one_feature, 10 * one_feature], dim=2)
    first = torch.tensor([[[[1, 2]]], [[[0, 2]]]], dtype=torch.uint8)
    second = torch.tensor([[[[2, 0]]], [[[1, 1]]]], dtype=torch.uint8)
    fraction = torch.tensor([[[[255, 51]]], [[[204, 0]]]], dtype=torch.uint8)

    mixed = look_up(values, first, second, fraction)

    expected = torch.tensor([1.0, 0.6, 5.2, 6.0])
    torch.testing.assert_close(mixed[:, 0].flatten(), expected)
    torch.testing.assert_close(mixed[:, 1].flatten(), 10 * expected)
