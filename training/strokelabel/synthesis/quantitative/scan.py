"""Scans of quantitative maps that an estimator is trained on, and their acquisition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from strokelabel.physics.distributions import Uniform
from strokelabel.physics.gradient_echo import GradientEcho, SpoiledGradientEcho
from strokelabel.physics.maps import QuantitativeMaps
from strokelabel.physics.mprage import Mp2rage, Mprage
from strokelabel.physics.presets import PRESETS, Protocol, draw_acquisition
from strokelabel.physics.spin_echo import FastSpinEcho, Flair
from strokelabel.synthesis.config import PhysicsConfig
from strokelabel.synthesis.config_sections import Range, Section
from strokelabel.synthesis.fields import evaluate_fields, sample_nodes
from strokelabel.synthesis.sampling import Sampler
from strokelabel.types import ChannelBatch, ImageBatch, MapsBatch


class MprageConfig(Section):
    """Ranges of uniform distributions: seconds, degrees. Impossible combinations are drawn again.

    The paper's (Chalcroft et al. 2025, qATLAS, section 2.1), with the train of excitations as in its code. The paper's
    "B0 in [0.3, 7] T" is a constant factor in its code, which normalisation removes, so it is not here.
    """

    repetition_time: Range = (1.9, 2.5)
    inversion_time: Range = (0.6, 1.2)
    echo_time: Range = (0.002, 0.004)
    flip_angle: Range = (5.0, 12.0)
    excitation_spacing: Range = (0.004, 0.008)
    """Twice the echo time in the public code."""
    excitations: Range = (100.0, 200.0)
    inversion_efficiency: Range = (0.8, 1.0)
    gibbs: Range = (0.1, 0.5)
    """Share of the radius of k-space that is lost (the public code: 0.1 to 0.8, at 1 mm)."""
    gibbs_probability: float = Field(0.5, ge=0, le=1)

    def protocol(self) -> Protocol:
        """Return the distributions of the acquisition parameters."""
        names = (
            "repetition_time",
            "inversion_time",
            "echo_time",
            "flip_angle",
            "excitation_spacing",
            "excitations",
            "inversion_efficiency",
        )
        return Protocol("mprage", {name: Uniform(*getattr(self, name)) for name in names})


TEXTURES = 2
"""Independent textures that all maps share; fewer than maps, since each takes as long as all else of a map."""


@dataclass(frozen=True)
class ScanParameters:
    """One draw.

    Attributes:
        protocol: preset and name, "clinical/flair", say.
        acquisition: the parameters of the sequence.
        receive: (1, kx, ky, kz) node values of the receive field minus one.
        transmit: (1, kx, ky, kz) node values of the transmit field minus one.
        reference: signal that becomes 1: that of the brightest tissue of the brain.
        texture: (5, TEXTURES) how each map varies with each texture, relative to its mean, where a tissue's
            deviation is 1. Maps share their textures, since what changes one property changes others.
    """

    protocol: str
    acquisition: FastSpinEcho | GradientEcho | SpoiledGradientEcho | Flair | Mprage | Mp2rage
    receive: Tensor
    transmit: Tensor
    reference: float
    texture: Tensor


def sample_scan(
    sampler: Sampler, config: PhysicsConfig, brain: Tensor, variation: tuple[float, ...]
) -> ScanParameters:
    """Draw an acquisition and its fields.

    Args:
        sampler: source of randomness.
        config: frequencies and ranges.
        brain: (tissues, 5) values of what the brain is made of, for the reference signal.
        variation: relative standard deviation of each map where a tissue's deviation is 1.
    """
    preset = _pick(sampler, dict(config.presets))
    name = _pick(sampler, {key: config.protocols.get(key, 1.0) for key in PRESETS[preset]})
    acquisition = draw_acquisition(sampler, PRESETS[preset][name])
    mean = sampler.uniform(config.transmit_mean)
    transmit = sample_nodes(sampler, config.transmit_nodes) * sampler.uniform(config.transmit_strength)
    signal = acquisition.magnitude(QuantitativeMaps.unstack(brain, dim=1))
    return ScanParameters(
        protocol=f"{preset}/{name}",
        acquisition=acquisition,  # type: ignore[arg-type]  # one of the sequences
        receive=sample_nodes(sampler, config.receive_nodes) * sampler.uniform(config.receive_strength),
        transmit=mean * (1 + transmit) - 1,
        reference=max(float(signal.max()), 1e-6),
        texture=torch.tensor(variation).unsqueeze(1) * _directions(sampler, len(variation)),
    )


def _pick(sampler: Sampler, weights: dict[Any, float]) -> Any:  # noqa: ANN401  # preset or protocol name
    """Draw a key with these relative weights."""
    names = list(weights)
    return names[sampler.choice([weights[name] for name in names])]


def _directions(sampler: Sampler, rows: int) -> Tensor:
    """Draw random unit vectors, (rows, TEXTURES)."""
    vectors = torch.randn((rows, TEXTURES), generator=sampler.generator)
    return vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-6)


def scan(maps: MapsBatch, textures: ChannelBatch, parameters: list[ScanParameters]) -> ImageBatch:
    """Return the magnitude images of quantitative maps.

    Args:
        maps: (batch, 5, x, y, z), in the order of `strokelabel.physics.MAP_NAMES`.
        textures: (batch, TEXTURES, x, y, z), scaled with the deviation of the tissue.
        parameters: one draw per item.

    Returns:
        (batch, 1, x, y, z); the brightest tissue of the brain is about 1, fat may be brighter.
    """
    x, y, z = maps.shape[2:]
    fields = [
        1 + evaluate_fields([getattr(p, name) for p in parameters], (x, y, z), maps.device)
        for name in ("receive", "transmit")
    ]
    items = []
    for means, noise, receive, transmit, drawn in zip(maps, textures, *fields, parameters, strict=True):
        varied = _textured(means, noise, drawn)
        items.append(drawn.acquisition.magnitude(varied, receive[0], transmit[0]) / drawn.reference)
    return torch.stack(items).unsqueeze(1)


def textured_maps(maps: MapsBatch, textures: ChannelBatch, parameters: list[ScanParameters]) -> MapsBatch:
    """Return the maps that `scan` shows, (batch, 5, x, y, z); arguments as there."""
    items = zip(maps, textures, parameters, strict=True)
    return torch.stack([_textured(means, noise, drawn).stack() for means, noise, drawn in items])


def _textured(maps: Tensor, textures: Tensor, parameters: ScanParameters) -> QuantitativeMaps:
    """Return one item's maps with their texture."""
    rows = zip(maps, parameters.texture, strict=True)
    return QuantitativeMaps(*(_vary(mean, textures, row) for mean, row in rows))


def _vary(mean: Tensor, textures: Tensor, weights: Tensor) -> Tensor:
    """Return a map with its texture; not negative. (x, y, z)."""
    factor = 1 + sum(float(weight) * texture for weight, texture in zip(weights, textures, strict=True))
    return mean * factor.clamp_min(0)
