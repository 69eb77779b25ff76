"""Replay of generated images: its settings, and the changes of an image that is used again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from strokelabel.synthesis.fields import evaluate_fields, sample_nodes
from strokelabel.synthesis.sampling import Sampler


class ReplayConfig(BaseModel):
    """Settings of replay: uses of a generated image, and its changes when it is used again.

    Making an image of 1.5 mm costs a CPU core 2.5 s and training on it 1.2 s; an image that is used three times costs
    less than the training on it.

    Attributes:
        reuse: items of the stream for each image that is made; the first of them is the image as it was made. 1 replays
            nothing.
        pool: the images, counted back from the newest, that a replay is chosen from. They are kept in memory: 3 bytes a
            voxel, 5.4 MB for 112 x 144 x 112 voxels.
        together: images that are made in one go; 1 on a CPU, more where a GPU makes them.
        flip_probability: of a replay, to be mirrored from left to right.
        change_probability: of a replay, to get a gamma and a smooth field.
        gamma_log_deviation: standard deviation of the logarithm of the exponent of intensities on [0, 1].
        field_log_strength: largest logarithm of the smooth field that intensities are multiplied by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reuse: int = Field(default=3, ge=1)
    pool: int = Field(default=400, ge=1)
    together: int = Field(default=1, ge=1)
    flip_probability: float = Field(default=0.5, ge=0, le=1)
    change_probability: float = Field(default=0.7, ge=0, le=1)
    gamma_log_deviation: float = Field(default=0.25, ge=0, allow_inf_nan=False)
    field_log_strength: float = Field(default=0.3, ge=0, allow_inf_nan=False)

    def check_use(self, *, synthetic: bool, sided: bool) -> None:
        """Refuse images that cannot be replayed like this.

        Args:
            synthetic: whether there are synthetic images, with classes of voxels.
            sided: whether classes are left or right.

        Raises:
            ValueError: saying which setting is wrong.
        """
        if not synthetic:
            raise ValueError("replay: expected synthetic images for the task segmentation, got others")
        if sided and self.flip_probability > 0:
            raise ValueError(
                "replay.flip_probability: expected 0 for a parcellation, whose classes are left or right, got "
                f"{self.flip_probability}"
            )


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
