"""Which part of a network keeps its weights."""

from __future__ import annotations

import re

from torch import nn

from strokelabel.errors import TrainingError
from strokelabel.fit.fine_tune_options import Frozen

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
