"""Intensity normalisation, the same for synthetic training images and for real scans.

Percentile clip to [0, 1] and z-score (Chalcroft et al. 2025, section 3.1), with the percentiles taken over
non-zero voxels so that they do not depend on how much air surrounds the head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strokelabel.networks.volume_normalization import (
    FEWEST,
    MAX_SAMPLES,
    SMALL_DEVIATION,
    TINY,
    nonzero_percentiles,
)
from strokelabel.types import ImageBatch


def normalize(images: ImageBatch, lower: float = 1.0, upper: float = 99.0) -> ImageBatch:
    """Clip each image to its own percentiles and scale it to zero mean and unit standard deviation.

    Args:
        images: (batch, 1, x, y, z), any finite values, any device.
        lower: lower percentile of the non-zero voxels, in [0, 100).
        upper: upper percentile of the non-zero voxels, in (lower, 100].

    Returns:
        Tensor of the same shape and dtype; all zeros where an image is constant.
    """
    clipped = rescale_percentiles(images, lower, upper)
    mean = clipped.mean(dim=(1, 2, 3, 4), keepdim=True)
    deviation = clipped.std(dim=(1, 2, 3, 4), keepdim=True)
    return (clipped - mean) / (deviation + SMALL_DEVIATION)


def rescale_percentiles(images: ImageBatch, lower: float = 1.0, upper: float = 99.0) -> ImageBatch:
    """Map each image's percentile range (non-zero voxels) to [0, 1] and clip to it.

    Args and shapes as `normalize`.
    """
    bounds = torch.stack([_percentiles(image, lower, upper) for image in images])
    low, high = bounds[:, 0].view(-1, 1, 1, 1, 1), bounds[:, 1].view(-1, 1, 1, 1, 1)
    return ((images - low) / (high - low).clamp_min(TINY)).clamp(0, 1)


def nonzero_quantiles(values: Tensor, lower: float, upper: float) -> Tensor:
    """Return two quantiles of the values that are not zero, of all if those are 100 or fewer; nothing is read back from
    a GPU.

    Args:
        values: (n,) float32.
        lower, upper: fractions in [0, 1].

    Returns:
        (2,), interpolated linearly between neighbours, as `torch.quantile` does.
    """
    zero = values == 0
    count = (~zero).sum()
    enough = count > FEWEST
    # The zeros go to the end, behind all that is counted.
    ordered = torch.where(zero & enough, torch.inf, values).sort().values
    last = torch.where(enough, count, values.numel()) - 1
    position = torch.stack([last * lower, last * upper])
    below = position.floor()
    low, high = ordered[below.long()], ordered[torch.minimum(below + 1, last).long()]
    return torch.lerp(low, high, (position - below).to(values.dtype))


def _percentiles(image: Tensor, lower: float, upper: float) -> Tensor:
    """Return the two percentiles of one image's non-zero voxels, as a tensor of two values."""
    if image.is_cuda:
        values = image.flatten()
        values = values[:: max(1, values.numel() // (4 * MAX_SAMPLES))]
        return nonzero_quantiles(values.float(), lower / 100, upper / 100).to(image.dtype)
    found = nonzero_percentiles(image.detach().float().contiguous().numpy(), lower, upper)
    return torch.tensor(found, dtype=image.dtype)
