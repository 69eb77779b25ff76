"""Penumbra: a smooth field that thins a lesion out, so that its signal fades within it. Each lesion has its own.

Chalcroft et al. 2025 (SynthStroke), section 3.1. The label is left uncut by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.synthesis.config import LesionConfig
from strokelabel.synthesis.fields import evaluate_fields, sample_nodes
from strokelabel.synthesis.sampling import Sampler


@dataclass(frozen=True)
class Penumbra:
    """Penumbra of one lesion.

    Attributes:
        floor: lower bound of the field; 1 for no penumbra.
        nodes: (1, kx, ky, kz) values in [-1, 1] of a field over the lesion's bounding box and a margin of 6 mm.
    """

    floor: float
    nodes: Tensor


NO_PENUMBRA = Penumbra(1.0, torch.zeros(1, 2, 2, 2))
"""Penumbra of a lesion that is as bright as its mean everywhere."""


def sample_penumbra(sampler: Sampler, config: LesionConfig) -> Penumbra:
    """Draw the penumbra of one lesion."""
    present = sampler.flip(config.penumbra_probability)
    floor = sampler.uniform(config.penumbra_floor)
    nodes = sample_nodes(sampler, config.penumbra_nodes)
    return Penumbra(floor, nodes) if present else NO_PENUMBRA


def fade(soft: Tensor, penumbra: Penumbra) -> Tensor:
    """Multiply a soft mask (x, y, z) by its penumbra, a field from `floor` to 1."""
    if penumbra.floor >= 1:
        return soft
    x, y, z = soft.shape
    field = evaluate_fields([penumbra.nodes], (x, y, z), soft.device)[0, 0]
    return soft * (penumbra.floor + (1 - penumbra.floor) * (0.5 + 0.5 * field).clamp(0, 1))
