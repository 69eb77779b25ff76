"""A denoising autoencoder that changes nothing: its corrections are all zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from strokelabel.networks.denoiser import Denoiser, DenoiserConfig
from strokelabel.networks.weights import save_weights
from strokelabel.registry import DENOISING, ModelSpec
from support.bright_network import make_spec

CONFIG = DenoiserConfig(channels=(2, 2, 2), strides=(1, 1), atlas_voxels=(8, 10, 8))


def denoiser_spec(**changes: Any) -> ModelSpec:
    """A denoiser of 4 mm voxels: each is made of two voxels of the bright model along each axis."""
    known = {
        "name": "idle",
        "description": "changes nothing",
        "path": Path("idle.safetensors"),
        "network": CONFIG.model_dump(mode="json"),
        "task": DENOISING,
        "spacing_mm": 4.0,
    }
    return make_spec(**(known | changes))


def idle_denoiser(config: DenoiserConfig = CONFIG) -> Denoiser:
    """A network without corrections."""
    network = Denoiser(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    return network.eval()


def save_denoiser(path: Path, **changes: Any) -> Path:
    """Write one, with other entries of its description."""
    spec = denoiser_spec(path=path, **changes)
    save_weights(path, idle_denoiser(DenoiserConfig(**spec.network)), spec, dtype="float32")
    return path
