"""Lesions look their age: cavity within rim, blood inside, oedema outside; plain lesions have none of it."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

from strokelabel.labels import TISSUE_GROUPS, default_label_table
from strokelabel.synthesis.config import ContrastConfig, ContrastFamily, LesionConfig, StageConfig
from strokelabel.synthesis.contrast.gaussian_mixture import CLINICAL_MEANS, sample_contrast
from strokelabel.synthesis.fields import CoarseGrid
from strokelabel.synthesis.lesions.appearance import (
    COMMON_RULES,
    LESION_RULES,
    component_contrast,
    each_lesion,
)
from strokelabel.synthesis.lesions.lesion import COMPONENTS, OWN_COMPONENTS
from strokelabel.synthesis.lesions.stage import PLAIN, sample_stage, stage_weights
from strokelabel.synthesis.sampling import Sampler

TABLE = default_label_table()
SHAPE = (40, 44, 36)
CPU = torch.device("cpu")
CENTER = torch.tensor([20.0, 22.0, 18.0])


def distance():
    axes = [torch.arange(n, dtype=torch.float32) for n in SHAPE]
    return (torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) - CENTER).norm(dim=-1)


def stage_of(name, seed=0, **changes):
    config = StageConfig.model_validate({"probability": 1, "weights": {name: 1}, **changes})
    return sample_stage(Sampler(seed), config)


def weights_of(parameters, radius, spacing_mm=2.0):
    """Rim, cavity, haemorrhage and oedema of a ball in white matter, and the ball."""
    soft = (distance() <= radius).float()[None, None]
    tissues = torch.zeros(1, 4, *SHAPE)
    tissues[:, 2] = 1
    grid = CoarseGrid(SHAPE, spacing_mm, CPU)
    everywhere = (slice(None), slice(None), slice(None))
    weights = stage_weights([parameters], soft, tissues, grid, everywhere)
    nothing = torch.zeros(1, 1, *SHAPE)
    return torch.cat([weights.get(name, nothing)[0] for name in COMPONENTS[1:5]]), soft[0, 0]


def contrast_of(stage, family, seed, **changes):
    lesion = LesionConfig.model_validate({"stages": changes})
    config = ContrastConfig(families={family: 1.0})
    drawn = sample_contrast(Sampler(seed), config, lesion, TABLE)
    dressed = component_contrast(Sampler(seed + 999), drawn, config, lesion, stage, TABLE)
    means = dict(zip(COMPONENTS, dressed.lesion_means[0, :, 0].tolist(), strict=True))
    for name, label in (("gray", 3), ("white", 2), ("ventricle", 4)):
        means[name] = float(dressed.means[TABLE.index(label), 0])
    return means


@pytest.mark.parametrize("spacing_mm", [1.0, 3.0])
@pytest.mark.parametrize("stage", ["acute", "subacute", "chronic", "haemorrhagic"])
def test_weights_stay_between_zero_and_one_and_on_their_side_of_the_border(stage, spacing_mm):
    weights, soft = weights_of(stage_of(stage), 9, spacing_mm)

    assert weights.min() >= 0 and weights.max() <= 1
    assert weights[:3, soft == 0].max() == 0
    assert weights[3, soft == 1].max() == 0


def test_a_chronic_lesion_is_hollow_with_a_rim():
    weights, _ = weights_of(replace(stage_of("chronic"), cavity_sigma_mm=2.0, cavity_threshold=0.7), 10)
    rim, cavity = weights[0], weights[1]

    deep, border = distance() < 6, (distance() > 9) & (distance() <= 10)
    assert cavity[deep].mean() > 0.75 and rim[deep].mean() < 0.1
    assert rim[border].mean() > 0.5 and cavity[border].mean() < 0.2
    assert weights[2:].max() == 0


def test_a_tiny_chronic_lesion_is_all_rim():
    weights, soft = weights_of(replace(stage_of("chronic"), cavity_sigma_mm=2.5, cavity_threshold=0.8), 1)

    assert weights[1].sum() < 0.2 * soft.sum() and weights[0].sum() > 0.5 * soft.sum()


def test_oedema_lies_around_fresh_lesions_and_fades_outwards():
    parameters = stage_of("acute", oedema_probability=1, oedema_sigma_mm=(8, 8))
    oedema = weights_of(parameters, 8)[0][3]

    near, far = (distance() > 8) & (distance() < 9), distance() > 16
    assert oedema[near].mean() > 0.3
    assert oedema[far].mean() < 0.01


def test_blood_fills_about_the_drawn_share_of_the_inside():
    few, much = (
        weights_of(stage_of("haemorrhagic", haemorrhage_fraction=(f, f)), 12)[0][2] for f in (0.1, 0.6)
    )
    inside = distance() < 10

    assert 0.01 < (few[inside] > 0.3).float().mean() < 0.25
    assert 0.35 < (much[inside] > 0.3).float().mean() < 0.8


def test_a_lesion_without_a_stage_has_one_component():
    parameters = sample_stage(Sampler(1), StageConfig(probability=0.0))
    weights, _ = weights_of(parameters, 9)

    assert parameters.stage == PLAIN and weights.abs().max() == 0


@pytest.mark.parametrize("family", ["t1", "t2", "flair", "dwi"])
def test_in_clinical_contrasts_a_cavity_looks_like_the_ventricles(family):
    for seed in range(20):
        means = contrast_of("chronic", family, seed)
        assert abs(means["cavity"] - means["ventricle"]) <= 0.13


def test_clinical_contrasts_show_each_stage_as_radiologists_know_it():
    for seed in range(20):
        flair, dwi, t2, t1 = (contrast_of("acute", family, seed) for family in ("flair", "dwi", "t2", "t1"))
        assert contrast_of("chronic", "flair", seed)["rim"] > flair["gray"] > flair["cavity"]
        assert dwi["lesion"] > dwi["gray"] + 0.05
        assert t2["lesion"] > t2["gray"] > t2["haemorrhage"]
        assert t1["white"] > t1["gray"] > t1["lesion"]
        assert flair["hyperintensity"] > flair["gray"] > flair["white"] - 0.05


def test_stages_look_on_adc_and_ct_as_radiologists_know_them():
    for seed in range(10):
        acute, chronic = (contrast_of(stage, "adc", seed) for stage in ("acute", "chronic"))
        assert acute["lesion"] < acute["gray"] < acute["ventricle"]
        assert chronic["gray"] < chronic["lesion"] and chronic["gray"] < chronic["cavity"]
        assert acute["hyperintensity"] > acute["white"]
        acute, chronic = (contrast_of(stage, "ct", seed) for stage in ("acute", "chronic"))
        assert acute["ventricle"] < acute["lesion"] < acute["white"] < acute["gray"] < acute["haemorrhage"]
        assert chronic["lesion"] < chronic["ventricle"] + 0.12 < chronic["white"]
        assert acute["hyperintensity"] < acute["white"] and acute["oedema"] < acute["white"]


def test_every_family_has_a_rule_for_every_component_and_stage_and_a_range_for_every_group():
    for family, groups in CLINICAL_MEANS.items():
        assert set(groups) == set(TISSUE_GROUPS) - {"background"} | {"lesion"}
        assert set(COMMON_RULES[family]) == set(COMPONENTS[1:])
        assert set(LESION_RULES[family]) == set(StageConfig().weights)
    assert set(CLINICAL_MEANS) == set(get_args(ContrastFamily)) - {"random"}
    assert set(COMMON_RULES) == set(LESION_RULES) == set(CLINICAL_MEANS)


@pytest.mark.parametrize("family", ["t2", "ct", "random"])
def test_each_lesion_of_a_head_has_means_of_its_own_and_shares_what_lies_outside(family):
    config, lesion = ContrastConfig(families={family: 1.0}), LesionConfig()
    drawn = sample_contrast(Sampler(1), config, lesion, TABLE)
    dressed = component_contrast(Sampler(2), drawn, config, lesion, "chronic", TABLE)

    means = each_lesion(Sampler(3), dressed, config, lesion, "chronic", TABLE, 4).lesion_means[..., 0]

    assert means.shape == (4, len(COMPONENTS))
    assert torch.equal(means[0], dressed.lesion_means[0, :, 0])
    for component in range(OWN_COMPONENTS):
        assert len(means[:, component].unique()) == 4
    for component in range(OWN_COMPONENTS, len(COMPONENTS)):
        assert len(means[:, component].unique()) == 1


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.1), (1.0, 1.0)])
def test_in_random_contrast_cavities_look_like_csf_as_often_as_stated(probability, share):
    draws = [contrast_of("chronic", "random", s, cavity_csf_probability=probability) for s in range(40)]

    alike = sum(abs(d["cavity"] - d["ventricle"]) < 0.1 for d in draws) / len(draws)
    assert alike == pytest.approx(share, abs=0.2)
