"""Normaliser: a small network that changes a scan's intensities before the model sees them (Karani et al. 2021)."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from strokelabel.types import ChannelBatch, ImageBatch

_CHANNELS = 16
_KERNEL = 3
_SIGMA_MEAN, _SIGMA_DEVIATION = 0.2, 0.05
_SMALLEST_SIGMA = 1e-3
"""The activation divides by sigma, which the optimiser may bring to zero."""


class GaussianActivation(nn.Module):
    """exp(-x² / σ²), with a learned σ for each channel.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sigma = nn.Parameter(torch.empty(channels))

    def forward(self, features: ChannelBatch) -> ChannelBatch:
        """Return values in (0, 1], (batch, channels, x, y, z)."""
        return _Gaussian.apply(features, self.sigma)  # type: ignore[no-any-return, no-untyped-call]


class _Gaussian(torch.autograd.Function):
    """exp(-x² / σ²) of all channels at once: half the time and memory of its parts, which a head at 1.5 mm feels."""

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, sigma: Tensor) -> Tensor:
        """Return the values; see `GaussianActivation`."""
        values = features.square().mul_(_inverse_square(sigma, features)).neg_().exp_()
        ctx.save_for_backward(features, values, sigma)
        return values

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients for features and σ; that of a σ below the smallest is zero."""
        features, values, sigma = ctx.saved_tensors  # type: ignore[attr-defined]
        of_features = (gradient * values).mul_(features).mul_(_inverse_square(sigma, features)).mul_(-2)
        total = (of_features * features).sum(dim=(0, 2, 3, 4), dtype=sigma.dtype)
        free = sigma.abs() >= _SMALLEST_SIGMA
        return of_features, torch.where(free, -total / sigma, 0.0)


def _inverse_square(sigma: Tensor, like: Tensor) -> Tensor:
    """Return 1 / σ² for each channel, in the arithmetic of the features."""
    square = sigma.square().clamp_min(_SMALLEST_SIGMA**2)
    return square.reciprocal().to(like.dtype).view(1, -1, 1, 1, 1)


class Normaliser(nn.Module):
    """Three convolutions of 3³ with 16 channels, added to their input.

    The last one starts at zero, so that a new normaliser changes nothing.

    Args:
        seed: decides the initial weights, whatever torch's own generator is at.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.device("meta"):  # costs no random numbers of torch's own generator
            layers = nn.Sequential(
                nn.Conv3d(1, _CHANNELS, _KERNEL, padding="same"),
                GaussianActivation(_CHANNELS),
                nn.Conv3d(_CHANNELS, _CHANNELS, _KERNEL, padding="same"),
                GaussianActivation(_CHANNELS),
                nn.Conv3d(_CHANNELS, 1, _KERNEL, padding="same"),
            )
        self.layers = layers.to_empty(device="cpu").to(memory_format=torch.channels_last_3d)
        self._start(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _start(self, generator: torch.Generator) -> Self:
        """Draw the initial weights: convolutions as torch does, σ as Karani et al. do."""
        for layer in self.layers:
            if isinstance(layer, nn.Conv3d):
                bound = 1 / math.sqrt(layer.weight[0].numel())
                for values in layer.parameters():
                    values.uniform_(-bound, bound, generator=generator)
            elif isinstance(layer, GaussianActivation):
                layer.sigma.normal_(_SIGMA_MEAN, _SIGMA_DEVIATION, generator=generator)
        for values in self.layers[-1].parameters():
            values.zero_()
        return self

    def forward(self, images: ImageBatch) -> ImageBatch:
        """Return images (batch, 1, x, y, z) with other intensities, float32."""
        change: Tensor = self.layers(images.contiguous(memory_format=torch.channels_last_3d))
        return images + change.float()
