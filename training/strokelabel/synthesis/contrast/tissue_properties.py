"""Quantitative values for each label and for lesions: qSynth's counterpart of the Gaussian mixture over intensities.

Chalcroft et al. 2025 (qSynth), section 2.2: each subject's tissues are drawn from priors of their mean and spread. The
public priors have no lesions; ours are in `strokelabel/physics/tissue_priors.tsv`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from strokelabel.labels import BRAIN_GROUPS, LabelTable
from strokelabel.physics.acquisition import Acquisition
from strokelabel.physics.maps import MAP_NAMES, QuantitativeMaps
from strokelabel.physics.priors import TissueDraw, TissuePriors, default_priors, read_priors
from strokelabel.synthesis.config import ContrastConfig, PhysicsConfig
from strokelabel.synthesis.contrast.gaussian_mixture import ContrastParameters
from strokelabel.synthesis.lesions.lesion import COMPONENTS, OWN_COMPONENTS
from strokelabel.synthesis.quantitative.scan import sample_scan
from strokelabel.synthesis.sampling import Sampler

_BETWEEN_STRUCTURES = 0.3
"""Variation between structures of one tissue, in units of its spread between subjects."""

_REFERENCE = "gray"
"""Tissue with a deviation of 1."""

_R1 = MAP_NAMES.index("r1")

_HAEMORRHAGES = (
    "haemorrhage-hyperacute",
    "haemorrhage-acute",
    "haemorrhage-early-subacute",
    "haemorrhage-late-subacute",
    "haemorrhage-chronic",
)

PLAIN_TISSUES: dict[str, tuple[str, ...]] = {
    "acute": ("lesion-acute",),
    "subacute": ("lesion-subacute",),
    "gliosis": ("lesion-gliosis",),
    "cavity": ("lesion-cavity",),
    "haemorrhage": _HAEMORRHAGES,
}
"""Tissues of a lesion without components (`config.PhysicsConfig.stages`): one of these, all equally likely."""

STAGE_TISSUES: dict[str, tuple[str, ...]] = {
    "acute": ("lesion-acute",),
    "subacute": ("lesion-subacute",),
    "chronic": ("lesion-gliosis",),
    "haemorrhagic": ("lesion-acute", "lesion-subacute"),
}
"""Tissues of the lesion proper where it has components beside (`config.StageConfig.weights`)."""

COMPONENT_TISSUES: dict[str, tuple[str, ...]] = {
    "rim": ("lesion-gliosis",),
    "cavity": ("lesion-cavity",),
    "haemorrhage": _HAEMORRHAGES,
    "oedema": ("oedema",),
    "hyperintensity": ("white-matter-hyperintensity",),
}
"""Tissues of the other components."""


def sample_tissue_contrast(sampler: Sampler, config: ContrastConfig, table: LabelTable) -> ContrastParameters:
    """Draw the quantitative values of a subject, and the scan of them."""
    physics = config.physics
    priors = _priors(physics.priors)
    means, deviations = _sample_labels(sampler, physics, priors, table)
    stages = list(physics.stages)
    stage = stages[sampler.choice([physics.stages[name] for name in stages])]
    made_of = {"lesion": PLAIN_TISSUES[stage], **COMPONENT_TISSUES}
    lesions = [_sample_component(sampler, physics, made_of[name]) for name in COMPONENTS]
    brain = means[[label.group in BRAIN_GROUPS for label in table.labels]]
    drawn = sample_scan(sampler, physics, brain, _reference_variation(priors))
    return ContrastParameters(
        family=f"{drawn.protocol} {stage}",
        means=means,
        deviations=deviations,
        lesion_means=torch.tensor([[draw.means for draw in lesions]]),
        lesion_deviations=torch.tensor([[_relative_deviation(draw, priors)] for draw in lesions]),
        texture_fwhm_voxels=sampler.uniform(config.texture_fwhm_voxels),
        texture_seed=sampler.seed(),
        scan=drawn,
    )


def scanned_again(
    sampler: Sampler, config: PhysicsConfig, contrast: ContrastParameters, table: LabelTable
) -> ContrastParameters:
    """Return the same subject in another scan: quantitative values stay, acquisition and fields are drawn.

    The protocol is another one than before, where the settings have several. The texture is drawn again: it is laid
    on the image's grid, so that views of a moved head would share what is none of its anatomy.
    """
    assert contrast.scan is not None
    brain = contrast.means[[label.group in BRAIN_GROUPS for label in table.labels]]
    used = contrast.scan.protocol.split("/")[-1]
    others = config.model_copy(update={"protocols": {**config.protocols, used: 0.0}})
    chosen = others if others.has_protocols else config
    drawn = sample_scan(sampler, chosen, brain, _reference_variation(_priors(config.priors)))
    return replace(
        contrast,
        family=f"{drawn.protocol} {contrast.family.split()[-1]}",
        texture_seed=sampler.seed(),
        scan=replace(drawn, texture=contrast.scan.texture),
    )


def with_acquisition(
    contrast: ContrastParameters, table: LabelTable, protocol: str, acquisition: Acquisition
) -> ContrastParameters:
    """Return the same subject and fields in a scan with a given acquisition; its family stays.

    Args:
        contrast: with a scan.
        table: label table that the contrast's rows follow.
        protocol: name of the acquisition, for the record.
        acquisition: any sequence.
    """
    assert contrast.scan is not None
    inside = [label.group in BRAIN_GROUPS for label in table.labels]
    brain = torch.cat([contrast.means[inside], contrast.lesion_means.flatten(0, 1)])
    signal = acquisition.magnitude(QuantitativeMaps.unstack(brain, dim=1))
    scan = replace(
        contrast.scan,
        protocol=protocol,
        acquisition=acquisition,  # type: ignore[arg-type]  # one of the sequences
        reference=max(float(signal.max()), 1e-6),
    )
    return replace(contrast, scan=scan)


def with_stage(
    sampler: Sampler, config: PhysicsConfig, contrast: ContrastParameters, stage: str
) -> ContrastParameters:
    """Return the same subject and scan, with a lesion proper of this stage (`lesions.stage.StageParameters.stage`)."""
    if contrast.scan is None or stage not in STAGE_TISSUES:
        return contrast
    draw = _sample_component(sampler, config, STAGE_TISSUES[stage])
    means, deviations = contrast.lesion_means.clone(), contrast.lesion_deviations.clone()
    means[:, 0] = torch.tensor(draw.means)
    deviations[0] = _relative_deviation(draw, _priors(config.priors))
    family = f"{contrast.scan.protocol} {stage}"
    return replace(contrast, family=family, lesion_means=means, lesion_deviations=deviations)


def each_lesion_tissue(
    sampler: Sampler, config: PhysicsConfig, contrast: ContrastParameters, count: int
) -> ContrastParameters:
    """Give each lesion of a head values of its own, drawn from the tissues of its stage.

    Args:
        sampler: source of randomness.
        config: priors and their spread.
        contrast: with the values of one lesion, and the stage as the last word of its family.
        count: of the lesions.
    """
    first = contrast.lesion_means[0]
    stage = contrast.family.split()[-1]
    made_of = {"lesion": (PLAIN_TISSUES | STAGE_TISSUES)[stage], **COMPONENT_TISSUES}
    rows = [first]
    for _ in range(count - 1):
        drawn = [_sample_component(sampler, config, made_of[name]) for name in COMPONENTS[:OWN_COMPONENTS]]
        rows.append(torch.cat([torch.tensor([draw.means for draw in drawn]), first[OWN_COMPONENTS:]]))
    return replace(contrast, lesion_means=torch.stack(rows))


@lru_cache(maxsize=4)
def _priors(path: str | None) -> TissuePriors:
    return default_priors() if path is None else read_priors(Path(path))


def _sample_labels(
    sampler: Sampler, config: PhysicsConfig, priors: TissuePriors, table: LabelTable
) -> tuple[Tensor, Tensor]:
    """Sample means (labels, 5) and relative deviations (labels, 1); both sides of a structure are alike."""
    tissues = [priors.tissue_of(label) for label in table.labels]
    drawn = {name: _draw(sampler, config, priors, name) for name in dict.fromkeys(tissues)}
    means = torch.tensor([drawn[name].means for name in tissues])
    spread = torch.tensor([[priors[name][key].between for key in MAP_NAMES] for name in tissues])
    structures = [min(label.id, label.mirror) for label in table.labels]
    rows = {structure: row for row, structure in enumerate(dict.fromkeys(structures))}
    noise = _truncated_normal(sampler, len(rows), means.shape[1])
    own = noise[torch.tensor([rows[structure] for structure in structures])]
    means = means + _BETWEEN_STRUCTURES * config.between_subjects * spread * own
    deviations = {name: _relative_deviation(draw, priors) for name, draw in drawn.items()}
    return means.clamp_min(0), torch.tensor([deviations[name] for name in tissues]).unsqueeze(1)


def _reference_variation(priors: TissuePriors) -> tuple[float, ...]:
    """Return the relative standard deviation of each map inside the reference tissue."""
    return tuple(priors[_REFERENCE][name].within / priors[_REFERENCE][name].mean for name in MAP_NAMES)


def _relative_deviation(draw: TissueDraw, priors: TissuePriors) -> float:
    """Return the variation of a tissue, compared with the reference tissue; R1 stands for all maps."""
    if draw.means[_R1] == 0:
        return 0.0
    return draw.deviations[_R1] / draw.means[_R1] / _reference_variation(priors)[_R1]


def _truncated_normal(sampler: Sampler, rows: int, columns: int) -> Tensor:
    """Return (rows, columns) of N(0, 1), kept within two standard deviations."""
    return torch.randn((rows, columns), generator=sampler.generator).clamp(-2, 2)


def _sample_component(sampler: Sampler, config: PhysicsConfig, tissues: tuple[str, ...]) -> TissueDraw:
    """Sample a component of lesions from one of these tissues."""
    return _draw(sampler, config, _priors(config.priors), tissues[sampler.integer(0, len(tissues) - 1)])


def _draw(sampler: Sampler, config: PhysicsConfig, priors: TissuePriors, tissue: str) -> TissueDraw:
    return priors.draw(sampler, tissue, config.between_subjects, config.within_tissue)
