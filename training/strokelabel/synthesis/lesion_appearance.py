"""How bright each lesion component is at each stage, in the Gaussian-mixture contrast.

The table is ours, written down from how the stages look on clinical scans: each mean is that of a tissue in the same
image plus a range. Wide on purpose; scanners, timing and patients differ.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from strokelabel.labels import LabelTable
from strokelabel.synthesis.config import ContrastConfig, LesionConfig
from strokelabel.synthesis.contrast import ContrastParameters
from strokelabel.synthesis.lesion import COMPONENTS
from strokelabel.synthesis.lesion_stage import PLAIN
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
        "acute": ("gray", 0.3, 0.9), "subacute": ("gray", 0.12, 0.5),
        "chronic": ("ventricle", 0.04, 0.2), "haemorrhagic": ("gray", 0.15, 0.7),
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
    """Give every component of `COMPONENTS` a mean and a deviation.

    Args:
        sampler: source of randomness.
        contrast: a draw of the mixture with the lesion's mean alone.
        contrast_config: ranges of random means, and of deviations.
        lesion: least contrast of the lesion, and how often a cavity looks like CSF in random contrast.
        stage: see `lesion_stage.StageParameters`.
        table: the label table that the contrast's rows follow.
    """
    tissue = {name: _group_mean(contrast.means, table, name) for name in ("gray", "white", "ventricle")}
    means = {"lesion": float(contrast.lesion_means[0, 0])}
    rules = COMMON_RULES.get(contrast.family)
    if rules is None:
        means |= _random_means(
            sampler, contrast_config, lesion.stages.cavity_csf_probability, means["lesion"], tissue
        )
    else:
        if stage != PLAIN:
            rule = LESION_RULES[contrast.family][stage]
            draws = [_follow(sampler, rule, tissue) for _ in range(8)]
            parenchyma = (tissue["gray"], tissue["white"])
            seen = [d for d in draws if min(abs(d - m) for m in parenchyma) >= lesion.minimum_contrast]
            means["lesion"] = (seen or draws)[0]
        means |= {name: _follow(sampler, rule, tissue) for name, rule in rules.items()}
    deviations = [[sampler.uniform(contrast_config.deviation)] for _ in COMPONENTS[1:]]
    return replace(
        contrast,
        lesion_means=torch.tensor([[means[name]] for name in COMPONENTS]),
        lesion_deviations=torch.cat([contrast.lesion_deviations[:1], torch.tensor(deviations)]),
    )


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
    """Random means in a sensible order: the rim is near the lesion, oedema between white matter and lesion."""
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


def _group_mean(means: Tensor, table: LabelTable, group: str) -> float:
    """Mean of a group's first label: white matter, cortex, lateral ventricle in FreeSurfer's order."""
    rows = [row for row, label in enumerate(table.labels) if label.group == group]
    return float(means[rows[0], 0]) if rows else 0.5
