"""Stage of a lesion, and its penumbra.

The penumbra is a smooth field that thins a lesion out, so that its signal fades within it. Each lesion has its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from strokelabel.synthesis.config import LesionConfig, StageConfig
from strokelabel.synthesis.fields import CoarseGrid, evaluate_fields, ramp, sample_nodes
from strokelabel.synthesis.sampling import Sampler, column

PLAIN = "plain"
"""No stage: the paper's lesion of one mean."""
FRESH = ("acute", "subacute", "haemorrhagic")
"""Stages with oedema and swelling."""


@dataclass(frozen=True)
class StageParameters:
    """Stage of one head's lesions. A strength of zero leaves the component out; lengths are standard deviations.

    Attributes:
        stage: one of `config.Stage`, or `PLAIN`.
        seed: of the irregularities.
        cavity_strength, cavity_sigma_mm, cavity_threshold: how empty the cavity is, and from what depth on.
        rim_strength: how much of the rim is gliotic.
        haemorrhage_strength, haemorrhage_sigma_mm, haemorrhage_level: patches where noise exceeds the level.
        oedema_strength, oedema_sigma_mm, oedema_threshold: a larger threshold makes a narrower border.
    """

    stage: str
    seed: int
    cavity_strength: float
    cavity_sigma_mm: float
    cavity_threshold: float
    rim_strength: float
    haemorrhage_strength: float
    haemorrhage_sigma_mm: float
    haemorrhage_level: float
    oedema_strength: float
    oedema_sigma_mm: float
    oedema_threshold: float


def sample_stage(sampler: Sampler, config: StageConfig) -> StageParameters:
    """Draw a stage and its extents."""
    stages = list(config.weights)
    staged = sampler.flip(config.probability)
    stage = stages[sampler.choice([config.weights[s] for s in stages])] if staged else PLAIN
    chronic, fresh, bled = stage == "chronic", stage in FRESH, stage == "haemorrhagic"
    oedema = fresh and sampler.flip(config.oedema_probability)
    fraction = sampler.uniform(config.haemorrhage_fraction)
    return StageParameters(
        stage=stage,
        seed=sampler.seed(),
        cavity_strength=sampler.uniform((0.8, 1.0)) if chronic else 0.0,
        cavity_sigma_mm=sampler.uniform(config.cavity_sigma_mm),
        cavity_threshold=sampler.uniform((0.6, 0.85)),
        rim_strength=sampler.uniform((0.6, 1.0)) if chronic else 0.0,
        haemorrhage_strength=sampler.uniform((0.6, 1.0)) if bled else 0.0,
        haemorrhage_sigma_mm=sampler.uniform((1.5, 5.0)),
        haemorrhage_level=NormalDist().inv_cdf(1 - fraction),
        oedema_strength=sampler.uniform((0.4, 1.0)) if oedema else 0.0,
        oedema_sigma_mm=sampler.uniform(config.oedema_sigma_mm),
        oedema_threshold=sampler.uniform((0.1, 0.25)),
    )


def stage_weights(
    parameters: list[StageParameters],
    soft: Tensor,
    tissues: Tensor,
    grid: CoarseGrid,
    region: tuple[slice, slice, slice],
) -> dict[str, Tensor]:
    """Return the weights of those components rim, cavity, haemorrhage and oedema that the batch has.

    Args:
        parameters: one per batch item.
        soft: (batch, 1, x, y, z) soft mask of the lesions.
        tissues: (batch, 4, x, y, z) gray matter, partial volume, white matter, CSF.
        grid: of the image.
        region: box of the image that holds the lesions.

    Returns:
        Each in [0, 1]. The first three, inside the soft mask, are (batch, 1, *region); oedema is (batch, 1, x, y, z),
        outside of it.
    """
    mask = grid.down(soft)
    inside = _cavity(parameters, mask, grid) | _haemorrhage(parameters, mask, grid)
    weights = {name: grid.up(part, region) * soft[(..., *region)] for name, part in inside.items()}
    oedema = _oedema(parameters, mask, grid)
    if oedema is not None:
        # Water spreads along white matter.
        tissue = tissues[:, 2:3] + 0.6 * tissues[:, 1:2] + 0.25 * tissues[:, 0:1]
        weights["oedema"] = grid.up(oedema) * tissue * (1 - soft)
    return weights


def _values(parameters: list[StageParameters], name: str, device: torch.device) -> Tensor:
    """Return one field of the parameters as (batch, 1, 1, 1, 1)."""
    return column([getattr(p, name) for p in parameters], device)


def _cavity(parameters: list[StageParameters], mask: Tensor, grid: CoarseGrid) -> dict[str, Tensor]:
    """Return gliotic rim and cavity, (batch, 1, *coarse) each, if there are any."""
    if not any(p.cavity_strength for p in parameters):
        return {}
    depth = grid.blur(mask, [p.cavity_sigma_mm for p in parameters])
    noise = grid.noise([p.seed for p in parameters], [3.0] * len(parameters))
    threshold = _values(parameters, "cavity_threshold", grid.device) + 0.06 * noise
    core = ramp(depth, threshold, 0.15)
    rim = (1 - core) * _values(parameters, "rim_strength", grid.device)
    return {"rim": rim, "cavity": core * _values(parameters, "cavity_strength", grid.device)}


def _haemorrhage(parameters: list[StageParameters], mask: Tensor, grid: CoarseGrid) -> dict[str, Tensor]:
    """Return the patches of blood inside, (batch, 1, *coarse), if there are any."""
    if not any(p.haemorrhage_strength for p in parameters):
        return {}
    noise = grid.noise([p.seed + 2 for p in parameters], [p.haemorrhage_sigma_mm for p in parameters])
    inside = ramp(grid.blur(mask, [2.0] * len(parameters)), 0.5, 0.3)
    level = _values(parameters, "haemorrhage_level", grid.device)
    strength = _values(parameters, "haemorrhage_strength", grid.device)
    return {"haemorrhage": ramp(noise, level, 0.4) * inside * strength}


def _oedema(parameters: list[StageParameters], mask: Tensor, grid: CoarseGrid) -> Tensor | None:
    """Return the water around the lesion, fading outwards, (batch, 1, *coarse), if there is any."""
    if not any(p.oedema_strength for p in parameters):
        return None
    near = grid.blur(mask, [p.oedema_sigma_mm for p in parameters])
    noise = grid.noise([p.seed + 1 for p in parameters], [4.0] * len(parameters))
    threshold = _values(parameters, "oedema_threshold", grid.device)
    return ramp(near * (1 + 0.25 * noise), threshold, 0.2) * _values(
        parameters, "oedema_strength", grid.device
    )


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
