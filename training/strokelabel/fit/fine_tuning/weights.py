"""Weights of a fine-tuning session: which are trained, and their average with the initial ones."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from strokelabel.errors import TrainingError
from strokelabel.fit.fine_tuning.options import Frozen
from strokelabel.networks.weights import load_weights, save_weights
from strokelabel.registry import ModelSpec

_DECODER = re.compile(r"(?:model\.)+(?:(?:1\.submodule\.)*2\.|upsamples\.|output_block\.)")
"""Names of the decoder's parameters in all architectures of `networks.unet`: MONAI's UNet nests its levels, and the
third part of each leads up again; DynUNet lists them, below one more name in the sub-pixel network."""


def freeze(network: nn.Module, part: Frozen) -> None:
    """Let a part of a network keep its weights; the optimiser then leaves it out.

    Args:
        network: of `networks.unet.build_network`.
        part: "none", or "encoder": all but the way up.

    Raises:
        TrainingError: nothing would be left to train.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(part == "none" or _DECODER.match(name) is not None)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise TrainingError(
            "freeze: expected a network with a decoder that can be trained alone; choose none"
        )


SHARES = (1.0, 0.7, 0.4)
"""Fractions of the change that are tried, all of it first; the first accepted one is used."""


def blend(began: ModelSpec, ended: ModelSpec, share: float, path: Path) -> ModelSpec:
    """Write the weights that lie a share of the way from some weights to others.

    Args:
        began: the weights at 0.
        ended: the weights at 1, of the same network; their description is kept.
        share: 0 to 1.
        path: the safetensors file to write; may be that of `ended`.

    Raises:
        WeightsError: a damaged file, or another network.
        OutputError: the file cannot be written.
    """
    first, last = (load_weights(spec)[0].state_dict() for spec in (began, ended))
    between = {name: torch.lerp(first[name], value, share) for name, value in last.items()}
    return save_weights(path, between, replace(ended, path=path))
