"""Scans of part of the head: a stack of slices, with nothing above and below, padded to the whole field of view."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.synthesis.config_sections import CoverageConfig
from strokelabel.synthesis.sampling import Sampler, on_device


@dataclass(frozen=True)
class CoverageParameters:
    """Stack of slices that was scanned.

    Attributes:
        axis: 0, 1 or 2: along which the slices are stacked.
        offset_mm: from the middle of the field of view to the middle of the stack.
        thickness_mm: of the stack.
    """

    axis: int
    offset_mm: float
    thickness_mm: float


def sample_coverage(
    sampler: Sampler, config: CoverageConfig, resolution_mm: tuple[float, float, float]
) -> CoverageParameters | None:
    """Draw what is covered; None for the whole field of view.

    Args:
        sampler: source of randomness.
        config: ranges.
        resolution_mm: slice spacing per axis, 0 for none (`artefacts.ArtefactParameters`): thick slices are stacked
            along their own axis.
    """
    covered = sampler.flip(config.probability)
    axis = sampler.choice(config.axis_weights)
    drawn = CoverageParameters(
        axis=_slice_axis(resolution_mm, axis),
        offset_mm=sampler.uniform(config.offset_mm),
        thickness_mm=sampler.uniform(config.thickness_mm),
    )
    return drawn if covered else None


def _slice_axis(resolution_mm: tuple[float, float, float], otherwise: int) -> int:
    """Return the only axis with thick slices, or the given one."""
    thick = [axis for axis, spacing in enumerate(resolution_mm) if spacing > 0]
    return thick[0] if len(thick) == 1 else otherwise


def restrict(mask: Tensor, parameters: list[CoverageParameters | None], spacing_mm: float) -> Tensor:
    """Take what was not scanned out of a mask.

    Args:
        mask: (batch, 1, x, y, z) of 0 and 1: what is shown of each image.
        parameters: one draw per item.
        spacing_mm: voxel size.

    Returns:
        (batch, 1, x, y, z); the argument itself where all is covered.
    """
    if not any(parameters):
        return mask
    items = []
    for item, covered in zip(mask, parameters, strict=True):
        if covered is not None:
            shape = [1, 1, 1, 1]
            shape[covered.axis + 1] = -1
            item = item * _inside(covered, item.shape[covered.axis + 1], spacing_mm, mask).view(shape)
        items.append(item)
    return torch.stack(items)


def _inside(covered: CoverageParameters, size: int, spacing_mm: float, like: Tensor) -> Tensor:
    """Return 1 for the planes of the stack, at least one, and 0 for the others, (size,)."""
    distance = ((torch.arange(size) - (size - 1) / 2) * spacing_mm - covered.offset_mm).abs()
    inside = distance <= max(covered.thickness_mm / 2, float(distance.min()))
    return on_device(inside.to(like.dtype), like.device)
