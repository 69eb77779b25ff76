"""Networks for parcellation whose answer is known: one that knows left from right, one in a weights file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from strokelabel.networks.unet import UNetConfig, build_network
from strokelabel.networks.weights import save_weights
from strokelabel.registry import PARCELLATION, ModelSpec
from strokelabel.structures import parcellation_structures
from support.bright_network import GRAY_FROM, LESION_FROM, make_spec

STRUCTURES = parcellation_structures()
CLASS = {structure.id: index for index, structure in enumerate(STRUCTURES)}
BRAIN, BALL = {"left": 2, "right": 41}, {"left": 10, "right": 49}
"""FreeSurfer ids of what such a network calls the phantom's brain and the bright ball in it."""


def sided_spec(**changes: Any) -> ModelSpec:
    """A model for parcellation of 2 mm voxels, flipped left-right in training."""
    known: dict[str, Any] = {
        "name": "sided",
        "description": "names structures",
        "class_names": tuple(structure.name for structure in STRUCTURES),
        "class_ids": tuple(structure.id for structure in STRUCTURES),
        "task": PARCELLATION,
        "recipe": {"synthesis": {"deformation": {"flip_probability": [0.5, 0.0, 0.0]}}},
    }
    return make_spec(**(known | changes))


class SidedNetwork(nn.Module):
    """Each voxel by its brightness and by the half of the image that it lies in: white matter, or thalamus."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 33, x, y, z) of (batch, 1, x, y, z)."""
        logits = torch.full((images.shape[0], len(STRUCTURES), *images.shape[2:]), -20.0)
        logits[:, 0] = 0
        half = images.shape[2] // 2
        for side, part in (("left", slice(None, half)), ("right", slice(half, None))):
            bright = images[:, 0, part]
            logits[:, CLASS[BRAIN[side]], part] = 10 * (bright - GRAY_FROM)
            logits[:, CLASS[BALL[side]], part] = 20 * (bright - LESION_FROM) + 10 * (bright - GRAY_FROM)
        return logits


def save_sided_model(path: Path, **changes: Any) -> Path:
    """Write a U-Net that knows brightness but no sides: everything is on the left."""
    config = UNetConfig(
        out_channels=33, channels=(2, 2), strides=(1,), kernel_size=1, num_res_units=0, dropout=0.0
    )
    network = build_network(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for module in network.modules():
            if isinstance(module, nn.PReLU):
                module.weight.fill_(1.0)
        first = next(module for module in network.modules() if isinstance(module, nn.Conv3d))
        first.weight[0, 0] = 1.0
        last = next(module for module in network.modules() if isinstance(module, nn.ConvTranspose3d))
        brain, ball = CLASS[BRAIN["left"]], CLASS[BALL["left"]]
        last.bias[0] = 10
        last.weight[0, brain, 1, 1, 1], last.bias[brain] = 10, 10 - 10 * GRAY_FROM
        last.weight[0, ball, 1, 1, 1], last.bias[ball] = 20, 10 - 10 * LESION_FROM - 10 * GRAY_FROM
    spec = sided_spec(path=path, network=config.model_dump(mode="json"), **changes)
    save_weights(path, network, spec, dtype="float32")
    return path
