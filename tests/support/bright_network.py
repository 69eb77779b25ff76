"""A network with hand-set weights that calls bright voxels lesion, and phantoms with a bright lesion.

Its answer is known for every voxel, so that tests can follow a lesion through orientation, resampling,
cropping and back without training anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from strokelabel.io import Image
from strokelabel.labels import CLASS_NAMES
from strokelabel.networks.unet import UNetConfig, build_network
from strokelabel.networks.weights import save_weights
from strokelabel.registry import ModelSpec

HEAD_RADII_MM = np.array([25.0, 30.0, 21.0])
SKULL, BRAIN, LESION = 40.0, 100.0, 300.0

GRAY_FROM, LESION_FROM = 0.8, 4.0
"""Values of the normalised image that divide the classes: air is near -0.4, brain near 1.6, lesion near 8."""


class BrightNetwork(nn.Module):
    """Each voxel by itself: gray matter above `GRAY_FROM`, lesion above `LESION_FROM`."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 6, x, y, z) of (batch, 1, x, y, z)."""
        logits = torch.zeros(images.shape[0], 6, *images.shape[2:], device=images.device)
        logits[:, 1] = 4 * (images[:, 0] - GRAY_FROM)
        logits[:, 5] = 6 * (images[:, 0] - LESION_FROM) + logits[:, 1]
        return logits


def make_spec(**changes: Any) -> ModelSpec:
    """A model of 2 mm voxels and a field of view of 64 x 80 x 64 mm, with sides that are multiples of 8."""
    known = {
        "name": "bright",
        "version": "1",
        "description": "finds bright blobs",
        "path": Path("bright.safetensors"),
        "network": UNetConfig(channels=(2, 2, 2, 2), strides=(2, 2, 2)).model_dump(mode="json"),
        "class_names": CLASS_NAMES,
        "spacing_mm": 2.0,
        "field_of_view_mm": (64.0, 80.0, 64.0),
        "normalization": {},
        "recipe": {},
        "training_step": 0,
        "license": "CC0-1.0",
    }
    return ModelSpec(**(known | changes))


def save_bright_model(path: Path, version: str = "1") -> Path:
    """Write a U-Net that does what `BrightNetwork` does.

    Its instance normalisation changes nothing, because its input is normalised; its activations are made linear.
    """
    config = UNetConfig(channels=(2, 2), strides=(1,), kernel_size=1, num_res_units=0, dropout=0.0)
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
        last.weight[0, 1, 1, 1, 1], last.bias[1] = 4, -4 * GRAY_FROM
        last.weight[0, 5, 1, 1, 1], last.bias[5] = 10, -4 * GRAY_FROM - 6 * LESION_FROM
    spec = make_spec(path=path, version=version, network=config.model_dump(mode="json"))
    save_weights(path, network, spec, dtype="float32")
    return path


def phantom(
    shape: tuple[int, int, int],
    affine: np.ndarray,
    lesion_mm: tuple[float, float, float],
    radius_mm: float = 8.0,
) -> tuple[Image, np.ndarray]:
    """An ellipsoid brain about the world's origin, in a darker skull, with a bright ball in it.

    Args:
        shape: voxels along i, j, k.
        affine: (4, 4) voxel index to RAS mm.
        lesion_mm: centre of the ball.
        radius_mm: radius of the ball.

    Returns:
        The image, and the ball as a boolean (i, j, k) mask.
    """
    points = (
        np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ affine[:3, :3].T
        + affine[:3, 3]
    )
    depth = ((points / HEAD_RADII_MM) ** 2).sum(axis=-1)
    ball = ((points - lesion_mm) ** 2).sum(axis=-1) <= radius_mm**2
    data = np.select([ball, depth <= 0.8, depth <= 1], [LESION, BRAIN, SKULL], 0.0)
    return Image(data.astype(np.float32), affine, source="phantom"), ball


def centred_affine(matrix: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The affine with this (3, 3) matrix whose field of view is centred on the world's origin."""
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = -matrix @ (np.array(shape) - 1) / 2
    return affine


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    """Rotation about x, then y, then z."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result
