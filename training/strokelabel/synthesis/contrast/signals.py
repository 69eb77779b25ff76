"""Signals of labels in a scan, and their variation from head to head.

Scans of label maps add up signals: each label's signal is computed once, and mixed where labels share a voxel.

Mixing quantitative values instead would give a voxel half fluid and half white matter rates in between, which are those
of gliosis: FLAIR would show a bright rim around all fluid. And signals of a few labels cost next to nothing.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from strokelabel.labels import LabelTable
from strokelabel.physics.maps import QuantitativeMaps
from strokelabel.synthesis.config_sections import StructureConfig, SurroundingsConfig
from strokelabel.synthesis.contrast.gaussian_mixture import CLINICAL_MEANS, CT, ContrastParameters, group_mean
from strokelabel.synthesis.fields import evaluate_fields
from strokelabel.synthesis.quantitative.scan import ScanParameters
from strokelabel.synthesis.sampling import Sampler

_LEAST_RANGE = 0.05
"""Of the transmit field, in which signals are computed."""


def signal_contrast(contrast: ContrastParameters) -> ContrastParameters:
    """Return the same subject and scan with signals in place of quantitative values.

    Args:
        contrast: with a scan; means (labels, 5), relative deviations (labels, 1).

    Returns:
        Means (labels, 3): the signal at the lowest, middle and highest transmit field. Deviations (labels, 1): of the
        signal. The same for the lesions.
    """
    assert contrast.scan is not None
    means, deviations = _signals(contrast.scan, contrast.means, contrast.deviations)
    lesions, components, _ = contrast.lesion_means.shape
    lesion_means, lesion_deviations = _signals(
        contrast.scan, contrast.lesion_means.flatten(0, 1), contrast.lesion_deviations.repeat(lesions, 1)
    )
    return replace(
        contrast,
        means=means,
        deviations=deviations,
        lesion_means=lesion_means.unflatten(0, (lesions, components)),
        lesion_deviations=lesion_deviations[:components],
    )


def _signals(scan: ScanParameters, values: Tensor, relative: Tensor) -> tuple[Tensor, Tensor]:
    """Return the signals (rows, 3) and their deviations (rows, 1), relative to the reference."""
    nodes = _transmit_nodes(scan)
    maps = QuantitativeMaps.unstack(values.unsqueeze(2), dim=1)
    signals = scan.acquisition.signal(maps, transmit=nodes)
    # One map at a time is changed by its standard deviation; maps vary independently.
    changes = scan.texture.norm(dim=1) * relative
    changed = values.unsqueeze(1) * (1 + torch.diag_embed(changes))
    varied = scan.acquisition.signal(QuantitativeMaps.unstack(changed, dim=2), transmit=nodes[1])
    deviations = (varied - signals[:, 1:2]).norm(dim=1, keepdim=True)
    return signals / scan.reference, deviations / scan.reference


def _transmit_nodes(scan: ScanParameters) -> Tensor:
    """Return the lowest, middle and highest value that the transmit field can have, (3,)."""
    low, high = float(scan.transmit.min()) + 1, float(scan.transmit.max()) + 1
    half, middle = max((high - low) / 2, _LEAST_RANGE), (high + low) / 2
    return torch.tensor([middle - half, middle, middle + half])


def expose(signals: Tensor, texture: Tensor, parameters: list[ScanParameters]) -> Tensor:
    """Return the magnitude images of mixed signals.

    Args:
        signals: (batch, 3, x, y, z) at the lowest, middle and highest transmit field.
        texture: (batch, 1, x, y, z), scaled with the deviation of the signal.
        parameters: one draw per item.

    Returns:
        (batch, 1, x, y, z); between the three transmit fields, signals follow a parabola: within 0.06 of the exact
        image where the field varies by a quarter.
    """
    x, y, z = signals.shape[2:]
    receive = evaluate_fields([p.receive * _receives(p) for p in parameters], (x, y, z), signals.device)
    # Distance from the middle node in units of the half range, in [-1, 1].
    positions = [(p.transmit + 1 - _transmit_nodes(p)[1]) / _half_range(p) for p in parameters]
    t = evaluate_fields(positions, (x, y, z), signals.device)
    low, middle, high = (signals[:, i : i + 1] for i in range(3))
    slope, curve = (high - low) / 2, (high + low) / 2 - middle
    return ((middle + t * (slope + t * curve) + texture) * (1 + receive)).abs()


def _receives(scan: ScanParameters) -> bool:
    return not scan.acquisition.receive_cancels


def _half_range(scan: ScanParameters) -> float:
    nodes = _transmit_nodes(scan)
    return float(nodes[2] - nodes[0]) / 2


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
