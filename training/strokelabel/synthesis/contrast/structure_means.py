"""Structures that are neither as bright as the cortex nor as white matter: thalamus, pallidum, brainstem and others.

With one mean per tissue group a thalamus is as bright as the cortex. On T1w scans it is not, and a model that has never
seen that calls it a lesion.
"""

from __future__ import annotations

from dataclasses import replace

from strokelabel.labels import LabelTable
from strokelabel.synthesis.config_sections import StructureConfig, SurroundingsConfig
from strokelabel.synthesis.contrast.gaussian_mixture import CLINICAL_MEANS, CT, ContrastParameters, group_mean
from strokelabel.synthesis.sampling import Sampler

TOWARDS_OTHER: dict[int, tuple[float, float]] = {
    7: (-0.25, 0.35),  # cerebellar white matter
    8: (-0.3, 0.3),  # cerebellar cortex
    9: (0.0, 0.9),  # thalamus
    10: (0.0, 0.9),  # thalamus
    11: (-0.1, 0.4),  # caudate
    12: (-0.1, 0.5),  # putamen
    13: (0.2, 1.2),  # pallidum
    16: (-0.3, 0.6),  # brainstem
    17: (-0.25, 0.25),  # hippocampus
    18: (-0.25, 0.25),  # amygdala
    26: (-0.1, 0.4),  # accumbens
    28: (-0.2, 0.6),  # ventral diencephalon
    85: (0.0, 0.8),  # optic chiasm
    512: (-0.3, 0.6),  # spinal cord
}
"""FreeSurfer id of the left or only structure: how far its mean lies from that of its own tissue group (0) towards that
of the other one of gray and white matter (1). Ours."""

_OUTSIDE = ("soft", "skin", "marrow", "bone", "vessel", "eye")
_ALWAYS_BRIGHT = ("marrow", "bone")
"""On CT."""


def vary_structures(
    sampler: Sampler, config: StructureConfig, contrast: ContrastParameters, table: LabelTable
) -> ContrastParameters:
    """Give the structures of `TOWARDS_OTHER` means of their own, the same on both sides; clinical families alone.

    Args:
        sampler: source of randomness.
        config: how often, and the spread.
        contrast: one feature, the intensity.
        table: the label table that the contrast's rows follow.
    """
    if contrast.family not in CLINICAL_MEANS or not sampler.flip(config.probability):
        return contrast
    tissue = {name: group_mean(contrast.means, table, name) for name in ("gray", "white")}
    deviation = sampler.uniform(config.deviation)
    shift = {}
    for structure, bounds in TOWARDS_OTHER.items():
        shift[structure] = sampler.uniform(bounds), sampler.normal(0, deviation)
    means = contrast.means.clone()
    for row, label in enumerate(table.labels):
        structure = min(label.id, label.mirror)
        if structure in shift and label.group in tissue:
            other = tissue["white" if label.group == "gray" else "gray"]
            share, extra = shift[structure]
            own = float(means[row, 0])
            means[row] = max(0.0, own + share * (other - own) + extra)
    return replace(contrast, means=means)


def vary_surroundings(
    sampler: Sampler, config: SurroundingsConfig, contrast: ContrastParameters, table: LabelTable
) -> ContrastParameters:
    """Give what lies around the brain other means than its family's table has; clinical families alone.

    On CT, bone stays bright. Arguments as `vary_structures`.
    """
    if contrast.family not in CLINICAL_MEANS or not sampler.flip(config.probability):
        return contrast
    ct = contrast.family == CT
    drawn: dict[int, tuple[float | None, float]] = {}
    means = contrast.means.clone()
    for row, label in enumerate(table.labels):
        if label.group not in _OUTSIDE or (ct and label.group in _ALWAYS_BRIGHT):
            continue
        structure = min(label.id, label.mirror)
        if structure not in drawn:
            anything = sampler.uniform(config.any_mean) if sampler.flip(config.any_probability) else None
            drawn[structure] = anything, sampler.normal(0, config.deviation)
        anything, extra = drawn[structure]
        varied = float(means[row, 0]) + extra if anything is None else anything
        means[row] = varied if ct else max(0.0, varied)
    return replace(contrast, means=means)
