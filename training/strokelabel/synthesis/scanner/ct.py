"""Computed tomography: no receive field, no gamma, and noise that is strong beside what tells the tissues apart."""

from __future__ import annotations

from dataclasses import replace

import torch

from strokelabel.synthesis.artefacts import ArtefactParameters
from strokelabel.synthesis.sampling import Sampler

_NOISE = (0.02, 0.08)
"""Standard deviation in a window of 80 Hounsfield units: 1.6 to 6.4 of them."""


def as_ct(sampler: Sampler, artefacts: ArtefactParameters) -> ArtefactParameters:
    """The artefacts of a CT with the slices of another draw.

    Args:
        sampler: source of randomness.
        artefacts: drawn for magnetic resonance.
    """
    return replace(
        artefacts,
        bias=torch.zeros_like(artefacts.bias),
        gamma=1.0,
        noise_deviation=sampler.uniform(_NOISE),
        noise_field=torch.zeros_like(artefacts.noise_field),
        magnitude=False,
    )
