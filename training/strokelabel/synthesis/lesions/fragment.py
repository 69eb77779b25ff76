"""Small lesions that are put somewhere else than their patient had them: masks of the bank, and random blobs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from strokelabel.synthesis.fields import evaluate_fields, sample_nodes
from strokelabel.synthesis.lesions.bank import LesionBank
from strokelabel.synthesis.lesions.penumbra import Penumbra
from strokelabel.synthesis.sampling import Sampler

BLOB = -1
"""Index of a lesion that is not a mask of the bank."""


@dataclass(frozen=True)
class Fragment:
    """A small lesion at a given place.

    Attributes:
        index: mask of the bank, or `BLOB`.
        blob_seed: seed of a blob's shape; unused for masks.
        volume_ml: volume of a blob; unused for masks.
        mirror: turn the mask left to right.
        center_mm: ICBM position of the centre of its bounding box.
        blur_sigma_voxels: softness of its edge, in voxels of the bank (1 mm).
        penumbra: how it fades within itself.
    """

    index: int
    blob_seed: int
    volume_ml: float
    mirror: bool
    center_mm: tuple[float, float, float]
    blur_sigma_voxels: float
    penumbra: Penumbra


def fragment_mask(fragment: Fragment, bank: LesionBank) -> Tensor:
    """Return the lesion in its bounding box, (x, y, z) bool, on the CPU."""
    if fragment.index == BLOB:
        voxel_ml = abs(float(np.linalg.det(bank.affine[:3, :3]))) / 1000
        return blob(fragment.blob_seed, max(1, round(fragment.volume_ml / voxel_ml)))
    mask = torch.from_numpy(bank.crop(fragment.index))
    return mask.flip(0) if fragment.mirror else mask


def fragment_start(fragment: Fragment, bank: LesionBank, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the first voxel, on the bank's grid, of a box of this shape around the fragment's centre."""
    center = np.linalg.solve(bank.affine, np.array([*fragment.center_mm, 1.0]))[:3]
    x, y, z = (round(float(c) - (n - 1) / 2) for c, n in zip(center, shape, strict=True))
    return x, y, z


def blob(seed: int, voxels: int) -> Tensor:
    """Return a random rounded shape with exactly this many voxels, mostly in one piece.

    A level set of a smooth random field on an ellipsoid of random axes.

    Args:
        seed: of the shape.
        voxels: volume, at least 1.

    Returns:
        (x, y, z) bool, with no empty border that matters.
    """
    sampler = Sampler(seed)
    axes = torch.exp(sampler.uniform_tensor((3,), -0.35, 0.35))
    axes = axes / axes.prod() ** (1 / 3)
    radius = (3 * voxels / (4 * math.pi)) ** (1 / 3)
    x, y, z = (2 * math.ceil(1.5 * radius * float(a)) + 1 for a in axes)
    shape = (x, y, z)
    grids = [torch.linspace(-1, 1, n) * 1.5 for n in shape]
    distance = torch.stack(torch.meshgrid(*grids, indexing="ij")).square().sum(dim=0).sqrt()
    noise = evaluate_fields([sample_nodes(sampler, (4, 5))], shape, torch.device("cpu"))[0, 0]
    level = (distance - 0.45 * noise).flatten()
    chosen = torch.topk(level, min(voxels, level.numel()), largest=False).indices
    mask = torch.zeros(level.numel(), dtype=torch.bool)
    mask[chosen] = True
    return mask.view(shape)
