"""Options of an adaptation to a scan, and of one to a cohort, with the papers' settings as defaults."""

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


CohortMethod = Literal["pl", "upl", "dpl"]

UNCERTAINTY = 0.05
"""Standard deviation of the probability from which on a voxel is uncertain (Chen et al. 2021)."""

MOST_WINDOW_VOXELS = 700_000
"""Largest window of a step, in voxels of the model: a step on a whole head takes several times as long."""


@dataclass(frozen=True)
class CohortOptions:
    """Options of an adaptation to a cohort (Chalcroft et al. 2025, section 2.1).

    Attributes:
        method: voxels whose pseudo-label is trained on. "pl": the confident ones; "upl": of these, the ones that
            dropout hardly changes; "dpl": of these, the ones whose features are nearest to their own class's (Chen et
            al. 2021).
        steps: optimiser steps; 0 gives the model as it is.
        confidence: probability that a confident voxel exceeds; None for (n - 1/2) / n with n classes.
        dropout: rate of the passes that "upl" and "dpl" take; None for that of the network's own training.
        learning_rate: of AdamW, the same in all steps.
        weight_decay: of AdamW.
        seed: decides windows and dropout.
        window_voxels: largest window of a step, in voxels of the model.

    Raises:
        OptionError: a value out of range.
    """

    method: CohortMethod
    steps: int = 2000
    confidence: float | None = None
    dropout: float | None = None
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    seed: int = 0
    window_voxels: int = MOST_WINDOW_VOXELS

    def __post_init__(self) -> None:
        if self.method not in get_args(CohortMethod):
            raise OptionError(f"Expected the method 'pl', 'upl' or 'dpl', got {self.method!r}.")
        if self.steps < 0:
            raise OptionError(f"Expected 0 or more steps of an adaptation, got {self.steps}.")
        if self.confidence is not None and not 0 <= self.confidence < 1:
            raise OptionError(f"Expected a confidence from 0 to below 1, got {self.confidence}.")
        if self.dropout is not None and not 0 < self.dropout < 1:
            raise OptionError(f"Expected a dropout rate between 0 and 1, got {self.dropout}.")
        if self.dropout is not None and self.method == "pl":
            raise OptionError("Expected a dropout rate with the methods 'upl' and 'dpl' alone; leave it out.")
        if not 0 < self.learning_rate < math.inf or not 0 <= self.weight_decay < math.inf:
            raise OptionError(
                "Expected a learning rate above 0 and a weight decay of 0 or more, got "
                f"{self.learning_rate} and {self.weight_decay}."
            )
        if self.window_voxels < 1:
            raise OptionError(f"Expected a window of at least one voxel, got {self.window_voxels}.")

    def threshold(self, classes: int) -> float:
        """Return the probability that a confident voxel exceeds."""
        return (classes - 0.5) / classes if self.confidence is None else self.confidence
