"""Gaussian-mixture contrast: an intensity and a texture for each anatomical label and for the lesions.

Random contrast follows SynthSeg (Billot et al. 2023) and SynthStroke (Chalcroft et al. 2025); `tissue.families` has the
clinical families.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.labels import LabelTable
from strokelabel.synthesis.axes import apply_along_axes, gaussian_matrix
from strokelabel.synthesis.config import ContrastConfig, LesionConfig
from strokelabel.synthesis.sampling import Sampler, voxel_noise
from strokelabel.synthesis.scan import ScanParameters
from strokelabel.synthesis.tissue.families import CLINICAL_MEANS, CT, CT_AIR

_BACKGROUND_GROUP = "background"


@dataclass(frozen=True)
class ContrastParameters:
    """One draw of a Gaussian mixture over one or several features.

    The plain mixture has one feature, the intensity, in arbitrary units with the head roughly in [0, 1]. With a scan,
    the features are the quantitative maps, and the deviations have one column: see `scan.ScanParameters.texture`.

    Attributes:
        family: which contrast family was drawn.
        means: (labels, features) mean of each label of the table.
        deviations: (labels, features) standard deviation of each label.
        lesion_means: (lesions, components, features) mean of each component (`lesion.COMPONENTS`) of each lesion; at
            least one row, also in a head without lesions.
        lesion_deviations: (components, features) standard deviation inside each component.
        texture_fwhm_voxels: smoothness of the texture.
        texture_seed: seed of the texture.
        scan: how quantitative maps become an intensity; None where the feature is the intensity.
    """

    family: str
    means: Tensor
    deviations: Tensor
    lesion_means: Tensor
    lesion_deviations: Tensor
    texture_fwhm_voxels: float
    texture_seed: int
    scan: ScanParameters | None = None


def sample_contrast(
    sampler: Sampler, config: ContrastConfig, lesion: LesionConfig, table: LabelTable
) -> ContrastParameters:
    """Draw a contrast. Both sides of a structure share their mean, as they do in a scan, unless told otherwise."""
    families = list(config.families)
    family = families[sampler.choice([config.families[f] for f in families])]
    groups = _group_means(sampler, config, family, table)
    shared = family != "random" or sampler.flip(config.shared_mean_probability)
    means, deviations = [], []
    by_structure: dict[int, tuple[float, float]] = {}
    joined = _joined_ids(config, table)
    for label in table.labels:
        structure = joined[label.id]
        if structure not in by_structure:
            drawn = _structure(sampler, config, groups[label.group], label.group, shared)
            lowest = CT_AIR if family == CT else 0.0
            by_structure[structure] = max(drawn[0], lowest), drawn[1]
        mean, deviation = by_structure[structure]
        means.append(mean)
        deviations.append(deviation)
    return ContrastParameters(
        family=family,
        means=torch.tensor(means).unsqueeze(1),
        deviations=torch.tensor(deviations).unsqueeze(1),
        lesion_means=torch.tensor(
            [[[lesion_mean(sampler, config, lesion, family, (groups["gray"], groups["white"]))]]]
        ),
        lesion_deviations=torch.tensor([[sampler.uniform(config.deviation)]]),
        texture_fwhm_voxels=sampler.uniform(config.texture_fwhm_voxels),
        texture_seed=sampler.seed(),
    )


def _group_means(
    sampler: Sampler, config: ContrastConfig, family: str, table: LabelTable
) -> dict[str, float]:
    """One mean per tissue group; the air is zero or nearly so."""
    ranges = CLINICAL_MEANS.get(family, {})
    groups = sorted({label.group for label in table.labels} | {"gray", "white"})
    means = {group: sampler.uniform(ranges.get(group, config.mean)) for group in groups}
    zero = sampler.flip(config.background_zero_probability)
    bounds = config.background_mean
    if config.background_random_probability and sampler.flip(config.background_random_probability):
        bounds = config.mean
    means[_BACKGROUND_GROUP] = 0.0 if zero else sampler.uniform(bounds)
    return means | ({_BACKGROUND_GROUP: CT_AIR} if family == CT else {})


def _joined_ids(config: ContrastConfig, table: LabelTable) -> dict[int, int]:
    """For each label, the id that stands for all labels which look the same as it does."""
    leader = {label_id: group[0] for group in config.joined_labels for label_id in group}
    mirror = {label.id: label.mirror for label in table.labels}
    leader |= {mirror[i]: mirror[first] for i, first in leader.items() if i in mirror and first in mirror}
    ids = {label.id: leader.get(label.id, label.id) for label in table.labels}
    if config.sides_share_contrast:
        return {label_id: min(first, mirror.get(first, first)) for label_id, first in ids.items()}
    return ids


def _structure(
    sampler: Sampler, config: ContrastConfig, group_mean: float, group: str, shared: bool
) -> tuple[float, float]:
    """Mean and standard deviation of one structure."""
    if group == _BACKGROUND_GROUP:
        low = group_mean <= config.background_mean[1]
        bounds = config.background_deviation if low else None
        return group_mean, 0.0 if group_mean in (0, CT_AIR) else sampler.uniform(bounds or config.deviation)
    own = group_mean + sampler.normal(0, 0.02) if shared else sampler.uniform(config.mean)
    return own, sampler.uniform(config.deviation)


def group_mean(means: Tensor, table: LabelTable, group: str) -> float:
    """Mean of a group's first label: white matter, cortex, lateral ventricle in FreeSurfer's order.

    Args:
        means: (labels, 1) intensities.
        table: the label table that the rows follow.
        group: "gray", say; 0.5 where the table has none of it.
    """
    rows = [row for row, label in enumerate(table.labels) if label.group == group]
    return float(means[rows[0], 0]) if rows else 0.5


def lesion_mean(
    sampler: Sampler,
    config: ContrastConfig,
    lesion: LesionConfig,
    family: str,
    parenchyma: tuple[float, float],
) -> float:
    """Draw the mean of a lesion, as far from gray and white matter as asked for where that is possible.

    Args:
        sampler: source of randomness.
        config: range of random means.
        lesion: least contrast.
        family: of the contrast.
        parenchyma: means of gray and white matter.
    """
    bounds = CLINICAL_MEANS.get(family, {}).get("lesion", config.mean)
    draws = [sampler.uniform(bounds) for _ in range(8)]
    return first_visible(draws, parenchyma, lesion.contrast_of(family))


def first_visible(draws: list[float], parenchyma: tuple[float, float], contrast: float) -> float:
    """The first of some means that differs from gray and white matter by a contrast, or else the first."""
    visible = [d for d in draws if min(abs(d - mean) for mean in parenchyma) >= contrast]
    return (visible or draws)[0]


def look_up(values: Tensor, first: Tensor, second: Tensor, fraction: Tensor) -> Tensor:
    """Mix the values of a voxel's two labels.

    Args:
        values: (batch, labels, features).
        first, second: (batch, x, y, z) uint8 label indices.
        fraction: (batch, x, y, z) share of the first label, of 255.

    Returns:
        (batch, features, x, y, z) float32.
    """
    items = []
    for table, a, b, f in zip(values, first, second, fraction, strict=True):
        first_label, second_label, share = a.flatten().int(), b.flatten().int(), f.flatten() / 255.0
        rows = [
            torch.lerp(column[second_label], column[first_label], share) for column in table.T.contiguous()
        ]
        items.append(torch.stack(rows).view(-1, *a.shape))
    return torch.stack(items)


def texture(
    parameters: list[ContrastParameters], shape: tuple[int, int, int], device: torch.device, channels: int = 1
) -> Tensor:
    """Unit-variance noise of the drawn smoothness, independent between channels.

    Returns:
        (batch, channels, x, y, z); smoothing is followed by division by the norm of its kernel, so that the standard
        deviation stays one (the public code lets it fall to 0.27).
    """
    noise = voxel_noise([p.texture_seed for p in parameters], (channels, *shape), device)
    kernels = []
    for axis in range(3):
        rows = [gaussian_matrix(shape[axis], p.texture_fwhm_voxels, device) for p in parameters]
        stack = torch.stack(rows).repeat_interleave(channels, dim=0)
        kernels.append(stack / stack.square().sum(dim=2, keepdim=True).sqrt())
    return apply_along_axes(noise.flatten(0, 1).unsqueeze(1), kernels).view_as(noise)
