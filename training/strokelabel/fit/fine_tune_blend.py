"""Weights between those that fine-tuning began with and those that it ended with.

What was learnt from a few scans of one contrast costs something on all others. A part of the way from the old weights
to the new ones keeps most of what was learnt and gives up little (Wortsman et al. 2022, robust fine-tuning by
interpolation in weight space).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from strokelabel.networks.weights import load_weights, save_weights
from strokelabel.registry import ModelSpec

SHARES = (1.0, 0.7, 0.4)
"""How much of the way is tried, the whole of it first; the first that may take over does."""


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
