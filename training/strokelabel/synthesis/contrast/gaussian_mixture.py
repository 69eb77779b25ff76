"""Gaussian-mixture contrast: intensity and texture of each label and of the lesion, free or of a clinical family."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.labels import LabelTable
from strokelabel.synthesis.config import ContrastConfig, LesionConfig
from strokelabel.synthesis.fields import apply_along_axes, gaussian_matrix
from strokelabel.synthesis.quantitative.scan import ScanParameters
from strokelabel.synthesis.sampling import Sampler, voxel_noise

CT = "ct"
"""Family that is not magnetic resonance: no bias field, no gamma, Gaussian noise, and values clipped to [0, 1]."""

CT_AIR = -2.0
"""Air on CT, far enough below the window that no noise lifts it into it (real air is at -12.5)."""

CLINICAL_MEANS: dict[str, dict[str, tuple[float, float]]] = {
    "t1": {
        "gray": (0.38, 0.64), "white": (0.7, 0.95), "ventricle": (0.08, 0.25), "csf": (0.08, 0.3),
        "vessel": (0.1, 0.7), "bone": (0.0, 0.15), "marrow": (0.4, 0.9), "soft": (0.3, 0.6),
        "skin": (0.5, 1.0), "eye": (0.1, 0.3), "lesion": (0.1, 0.48),
    },
    "t2": {
        "gray": (0.42, 0.6), "white": (0.25, 0.42), "ventricle": (0.8, 1.0), "csf": (0.7, 1.0),
        "vessel": (0.0, 0.4), "bone": (0.0, 0.15), "marrow": (0.2, 0.6), "soft": (0.15, 0.45),
        "skin": (0.3, 0.8), "eye": (0.7, 1.0), "lesion": (0.6, 1.05),
    },
    "flair": {
        "gray": (0.45, 0.62), "white": (0.33, 0.5), "ventricle": (0.03, 0.15), "csf": (0.03, 0.25),
        "vessel": (0.0, 0.4), "bone": (0.0, 0.15), "marrow": (0.2, 0.6), "soft": (0.2, 0.55),
        "skin": (0.3, 0.9), "eye": (0.05, 0.2), "lesion": (0.68, 1.1),
    },
    "dwi": {
        "gray": (0.3, 0.45), "white": (0.22, 0.4), "ventricle": (0.02, 0.15), "csf": (0.02, 0.2),
        "vessel": (0.0, 0.15), "bone": (0.0, 0.08), "marrow": (0.0, 0.15), "soft": (0.0, 0.2),
        "skin": (0.0, 0.2), "eye": (0.02, 0.2), "lesion": (0.45, 1.2),
    },
    "adc": {
        "gray": (0.2, 0.38), "white": (0.19, 0.34), "ventricle": (0.8, 1.05), "csf": (0.6, 1.0),
        "vessel": (0.0, 0.6), "bone": (0.0, 0.1), "marrow": (0.0, 0.2), "soft": (0.1, 0.45),
        "skin": (0.0, 0.4), "eye": (0.7, 1.0), "lesion": (0.08, 0.24),
    },
    "ct": {
        "gray": (0.41, 0.5), "white": (0.32, 0.405), "ventricle": (0.03, 0.18), "csf": (0.05, 0.22),
        "vessel": (0.42, 0.7), "bone": (1.5, 3.0), "marrow": (1.0, 2.5), "soft": (0.4, 0.8),
        "skin": (-1.2, 0.6), "eye": (0.05, 0.25), "lesion": (0.1, 0.31),
    },
}  # fmt: skip
"""Ranges of the mean per tissue group, relative to a white point of about 1.

On CT, 0 to 1 is the window of 0 to 80 Hounsfield units: white matter at 26 to 32, gray matter at 33 to 40, fluid below
18, bone far above the window, and the fat of the scalp below it.
"""


_BACKGROUND_GROUP = "background"


@dataclass(frozen=True)
class ContrastParameters:
    """One draw of a Gaussian mixture over one or several features.

    The plain mixture has one feature, the intensity, in arbitrary units with the head roughly in [0, 1]. With a scan,
    the features are the quantitative maps, and the deviations have one column: see `ScanParameters.texture`.

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
    """Return one mean per tissue group; the air is zero or nearly so."""
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
    """Return for each label the one whose mean it shares; its own where it shares none."""
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
    """Return the mean and standard deviation of one structure."""
    if group == _BACKGROUND_GROUP:
        low = group_mean <= config.background_mean[1]
        bounds = config.background_deviation if low else None
        return group_mean, 0.0 if group_mean in (0, CT_AIR) else sampler.uniform(bounds or config.deviation)
    own = group_mean + sampler.normal(0, 0.02) if shared else sampler.uniform(config.mean)
    return own, sampler.uniform(config.deviation)


def group_mean(means: Tensor, table: LabelTable, group: str) -> float:
    """Return the mean of a group's first label: white matter, cortex, lateral ventricle in FreeSurfer's order.

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
    """Draw the mean of a lesion, as far from gray and white matter as requested where that is possible.

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
    """Return the first of some means that differs from gray and white matter by a contrast, or else the first."""
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
    batch, _, features = values.shape
    mixed = values.new_empty((batch, features, *first.shape[1:]))
    for item, table, a, b, f in zip(mixed, values, first, second, fraction, strict=True):
        first_label, second_label, share = a.flatten().int(), b.flatten().int(), f.flatten() / 255.0
        for row, column in zip(item, table.T.contiguous(), strict=True):
            others = column.index_select(0, second_label)
            torch.lerp(others, column.index_select(0, first_label), share, out=row.view(-1))
    return mixed


def texture(
    parameters: list[ContrastParameters], shape: tuple[int, int, int], device: torch.device, channels: int = 1
) -> Tensor:
    """Return unit-variance noise of the drawn smoothness, independent between channels.

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
