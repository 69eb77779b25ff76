"""Brightness of each lesion component at each stage, in the Gaussian-mixture contrast.

The table is ours, written down from how the stages look on clinical scans: each mean is that of a tissue in the same
image plus a range. Wide on purpose; scanners, timing and patients differ.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from strokelabel.labels import LabelTable
from strokelabel.synthesis.config import ContrastConfig, LesionConfig
from strokelabel.synthesis.contrast.gaussian_mixture import (
    ContrastParameters,
    first_visible,
    group_mean,
    lesion_mean,
)
from strokelabel.synthesis.lesions.lesion import COMPONENTS, OWN_COMPONENTS
from strokelabel.synthesis.lesions.stage import PLAIN
from strokelabel.synthesis.sampling import Sampler

Rule = tuple[str, float, float]
"""Mean = that of a tissue group ("gray", "white", "ventricle") + U(low, high)."""

COMMON_RULES: dict[str, dict[str, Rule]] = {
    "t1": {
        "rim": ("gray", -0.22, -0.06), "cavity": ("ventricle", -0.03, 0.06),
        "haemorrhage": ("gray", -0.1, 0.4), "oedema": ("white", -0.25, -0.1),
        "hyperintensity": ("white", -0.3, -0.1),
    },
    "t2": {
        "rim": ("gray", 0.1, 0.3), "cavity": ("ventricle", -0.1, 0.03),
        "haemorrhage": ("white", -0.3, -0.12), "oedema": ("gray", 0.02, 0.25),
        "hyperintensity": ("gray", 0.02, 0.28),
    },
    "flair": {
        "rim": ("gray", 0.12, 0.45), "cavity": ("ventricle", -0.02, 0.12),
        "haemorrhage": ("white", -0.35, -0.15), "oedema": ("gray", 0.05, 0.3),
        "hyperintensity": ("gray", 0.1, 0.42),
    },
    "dwi": {
        "rim": ("gray", -0.08, 0.12), "cavity": ("ventricle", -0.02, 0.06),
        "haemorrhage": ("ventricle", -0.02, 0.1), "oedema": ("white", 0.0, 0.12),
        "hyperintensity": ("white", 0.02, 0.15),
    },
    "adc": {
        "rim": ("gray", -0.1, 0.1), "cavity": ("ventricle", -0.15, 0.03),
        "haemorrhage": ("ventricle", -0.6, 0.1), "oedema": ("white", 0.0, 0.15),
        "hyperintensity": ("white", 0.05, 0.2),
    },
    "ct": {
        "rim": ("white", -0.16, -0.04), "cavity": ("ventricle", -0.02, 0.06),
        "haemorrhage": ("gray", 0.12, 0.45), "oedema": ("white", -0.15, -0.04),
        "hyperintensity": ("white", -0.12, -0.03),
    },
}  # fmt: skip
"""Family → component → rule, whatever the stage."""

LESION_RULES: dict[str, dict[str, Rule]] = {
    "t1": {
        "acute": ("gray", -0.22, -0.04), "subacute": ("gray", -0.3, -0.08),
        "chronic": ("ventricle", 0.06, 0.25), "haemorrhagic": ("gray", -0.28, -0.05),
    },
    "t2": {
        "acute": ("gray", 0.12, 0.42), "subacute": ("gray", 0.2, 0.5),
        "chronic": ("gray", 0.15, 0.42), "haemorrhagic": ("gray", 0.12, 0.45),
    },
    "flair": {
        "acute": ("gray", 0.1, 0.45), "subacute": ("gray", 0.2, 0.55),
        "chronic": ("gray", 0.05, 0.35), "haemorrhagic": ("gray", 0.15, 0.5),
    },
    "dwi": {
        "acute": ("gray", 0.08, 0.8), "subacute": ("gray", 0.06, 0.5),
        "chronic": ("ventricle", 0.04, 0.2), "haemorrhagic": ("gray", 0.15, 0.7),
    },
    "adc": {
        "acute": ("gray", -0.22, -0.05), "subacute": ("gray", -0.18, -0.05),
        "chronic": ("gray", 0.12, 0.5), "haemorrhagic": ("gray", -0.26, -0.05),
    },
    "ct": {
        "acute": ("white", -0.12, -0.02), "subacute": ("white", -0.2, -0.06),
        "chronic": ("ventricle", 0.0, 0.1), "haemorrhagic": ("white", -0.14, -0.02),
    },
}  # fmt: skip
"""Family → stage → rule of the lesion proper."""


def component_contrast(
    sampler: Sampler,
    contrast: ContrastParameters,
    contrast_config: ContrastConfig,
    lesion: LesionConfig,
    stage: str,
    table: LabelTable,
) -> ContrastParameters:
    """Give every component of `COMPONENTS` a mean and a deviation, for one lesion.

    Args:
        sampler: source of randomness.
        contrast: a draw of the mixture with the lesion's mean alone.
        contrast_config: ranges of random means, and of deviations.
        lesion: least contrast of the lesion, and how often a cavity looks like CSF in random contrast.
        stage: see `stage.StageParameters`.
        table: the label table that the contrast's rows follow.
    """
    tissue = {name: group_mean(contrast.means, table, name) for name in ("gray", "white", "ventricle")}
    means = {"lesion": float(contrast.lesion_means[0, 0, 0])}
    rules = COMMON_RULES.get(contrast.family)
    if rules is None:
        means |= _random_means(
            sampler, contrast_config, lesion.stages.cavity_csf_probability, means["lesion"], tissue
        )
    else:
        if stage != PLAIN:
            rule = LESION_RULES[contrast.family][stage]
            draws = [_follow(sampler, rule, tissue) for _ in range(8)]
            least = lesion.contrast_of(contrast.family)
            means["lesion"] = first_visible(draws, (tissue["gray"], tissue["white"]), least)
        means |= {name: _follow(sampler, rule, tissue) for name, rule in rules.items()}
    deviations = [[sampler.uniform(contrast_config.deviation)] for _ in COMPONENTS[1:]]
    return replace(
        contrast,
        lesion_means=torch.tensor([[[means[name]] for name in COMPONENTS]]),
        lesion_deviations=torch.cat([contrast.lesion_deviations[:1], torch.tensor(deviations)]),
    )


def each_lesion(
    sampler: Sampler,
    contrast: ContrastParameters,
    contrast_config: ContrastConfig,
    lesion: LesionConfig,
    stage: str | None,
    table: LabelTable,
    count: int,
) -> ContrastParameters:
    """Give each lesion of a head means of its own, by the same rules; what lies outside lesions is drawn once.

    Args:
        sampler: source of randomness.
        contrast: with the means of one lesion.
        contrast_config, lesion, table: as for `component_contrast`.
        stage: of all lesions, or None where lesions have one component.
        count: of the lesions.
    """
    first = contrast.lesion_means[0]
    parenchyma = (group_mean(contrast.means, table, "gray"), group_mean(contrast.means, table, "white"))
    rows = [first]
    for _ in range(count - 1):
        mean = lesion_mean(sampler, contrast_config, lesion, contrast.family, parenchyma)
        own = replace(contrast, lesion_means=torch.tensor([[[mean]]]))
        if stage is not None:
            own = component_contrast(sampler, own, contrast_config, lesion, stage, table)
        rows.append(torch.cat([own.lesion_means[0, :OWN_COMPONENTS], first[OWN_COMPONENTS:]]))
    return replace(contrast, lesion_means=torch.stack(rows))


def _follow(sampler: Sampler, rule: Rule, tissue: dict[str, float]) -> float:
    """Draw a mean by a rule."""
    group, low, high = rule
    return max(0.0, tissue[group] + sampler.uniform((low, high)))


def _random_means(
    sampler: Sampler,
    config: ContrastConfig,
    cavity_csf_probability: float,
    lesion: float,
    tissue: dict[str, float],
) -> dict[str, float]:
    """Draw random means in a sensible order: the rim is near the lesion, oedema between white matter and lesion."""
    anything = {
        name: sampler.uniform(config.mean) for name in ("rim", "cavity", "haemorrhage", "hyperintensity")
    }
    rim, oedema = sampler.uniform((0.0, 0.4)), sampler.uniform((0.2, 0.7))
    like_csf = max(0.0, tissue["ventricle"] + sampler.normal(0, 0.03))
    return anything | {
        "rim": lesion + rim * (anything["rim"] - lesion),
        "cavity": like_csf if sampler.flip(cavity_csf_probability) else anything["cavity"],
        "oedema": tissue["white"] + oedema * (lesion - tissue["white"]),
    }
