"""Changes of an image that is used again: mirrored, another gamma, a smooth field; drawn apart from being applied."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.fit.data.generation.config import ReplayConfig
from strokelabel.synthesis.fields import evaluate_fields, sample_nodes
from strokelabel.synthesis.sampling import Sampler

_FIELD_NODES = (3, 4)
"""Control nodes along an axis: a field that changes a few times from one side of the head to the other."""


@dataclass(frozen=True)
class ReplayParameters:
    """One replay.

    Attributes:
        age: of the image, 0 for the newest.
        flip: mirrored from left to right.
        gamma: exponent of the intensities on [0, 1].
        field_log: (1, kx, ky, kz) control values of the logarithm of the smooth field; None for the same intensities.
    """

    age: int
    flip: bool
    gamma: float
    field_log: Tensor | None


def sample_replay(seed: int, config: ReplayConfig, available: int) -> ReplayParameters:
    """Draw a replay.

    Args:
        seed: decides everything.
        config: see `ReplayConfig`.
        available: images made so far; the last `config.pool` of them are drawn from.
    """
    sampler = Sampler(seed)
    age = sampler.integer(0, min(available, config.pool) - 1)
    flip = sampler.flip(config.flip_probability)
    if not sampler.flip(config.change_probability):
        return ReplayParameters(age, flip, 1.0, None)
    gamma = math.exp(sampler.normal(0.0, config.gamma_log_deviation))
    return ReplayParameters(age, flip, gamma, config.field_log_strength * sample_nodes(sampler, _FIELD_NODES))


@torch.no_grad()
def apply_replay(image: Tensor, target: Tensor, parameters: ReplayParameters) -> tuple[Tensor, Tensor]:
    """Change an image; nothing is read back from its device.

    Args:
        image: (1, x, y, z) float32, clipped and z-scored.
        target: (x, y, z), mirrored with the image and else left alone.
        parameters: see `ReplayParameters`.

    Returns:
        Image and target of the same shapes and types; the image z-scored again where its intensities were changed.
    """
    if parameters.field_log is not None:
        shape = (image.shape[1], image.shape[2], image.shape[3])
        field = evaluate_fields([parameters.field_log], shape, image.device)[0].exp()
        low, high = image.amin(), image.amax()
        unit = (image - low) / (high - low).clamp_min(1e-6)
        changed = unit**parameters.gamma * field
        image = (changed - changed.mean()) / (changed.std() + 1e-6)
    if parameters.flip:
        image, target = image.flip(1), target.flip(0)
    return image, target
