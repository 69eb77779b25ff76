"""Small computations on one image of two or three axes, on any device, without reading anything back from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

_MAX_SAMPLES = 40_000
"""Quantiles come from at most about this many voxels."""


def box_mean(image: Tensor, size: int = 3) -> Tensor:
    """Return the mean over `size` voxels along each axis of an image (x, y) or (x, y, z); zeros lie beyond
    its borders.
    """
    pool = F.avg_pool2d if image.ndim == 2 else F.avg_pool3d
    # Padded beforehand, since pooling refuses an image smaller than its window.
    padded = F.pad(image, (size // 2,) * (2 * image.ndim))
    return pool(padded[None, None], size, 1)[0, 0]


def smooth_field(controls: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate control values linearly.

    Args:
        controls: (kx, ky) or (kx, ky, kz), spread from the first voxel to the last.
        shape: voxels of the field, as many axes.
    """
    mode = "bilinear" if controls.ndim == 2 else "trilinear"
    return F.interpolate(controls[None, None], size=tuple(shape), mode=mode, align_corners=True)[0, 0]


def nonzero_quantiles(image: Tensor, fractions: Tensor) -> Tensor:
    """Return the quantiles of the voxels that are not zero.

    Args:
        image: at least 0.
        fractions: (n,) in [0, 1], on the image's device.

    Returns:
        (n,): the nearest values from below; zeros where the image has nothing else.
    """
    values = image.flatten()
    values = values[:: max(1, values.numel() // _MAX_SAMPLES)].sort().values
    zeros = (values == 0).sum()
    rank = zeros + fractions * (len(values) - 1 - zeros).clamp_min(0)
    return values[rank.long().clamp(0, len(values) - 1)]


def masked_mean(image: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of an image weighted by another, a scalar; 0 where there is no weight."""
    return (image * weight).sum() / weight.sum().clamp_min(1e-6)
