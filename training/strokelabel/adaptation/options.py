"""Options of an adaptation, with the papers' settings as defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from strokelabel.errors import OptionError

Method = Literal["tent", "dae"]

DENOISER = "denoiser"
"""Name of the denoising autoencoder that is shipped."""

REFRESH_EVERY = 25
"""Iterations after which the denoised target is made again (Karani et al. 2021)."""


@dataclass(frozen=True)
class AdaptationOptions:
    """Options of an adaptation to one scan.

    Attributes:
        method: "tent" lowers the entropy of the output (Wang et al. 2021); "dae" the difference between the output and
            what a denoising autoencoder makes of it (Karani et al. 2021).
        iterations: optimiser steps; 0 gives the plain prediction.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        seed: decides the initial normaliser, and the windows where memory does not allow the whole box.
        denoiser: name or file of the autoencoder, for "dae" alone.

    Raises:
        OptionError: a value out of range.
    """

    method: Method
    iterations: int = 100
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    seed: int = 0
    denoiser: str = DENOISER

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise OptionError(f"Expected the adaptation 'tent' or 'dae', got {self.method!r}.")
        if self.iterations < 0:
            raise OptionError(f"Expected 0 or more iterations of an adaptation, got {self.iterations}.")
        if not 0 < self.learning_rate < math.inf or not 0 <= self.weight_decay < math.inf:
            raise OptionError(
                "Expected a learning rate above 0 and a weight decay of 0 or more, got "
                f"{self.learning_rate} and {self.weight_decay}."
            )
