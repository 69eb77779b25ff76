"""Noise of magnitude images."""

from __future__ import annotations

import torch
from torch import Tensor

from strokelabel.errors import OptionError


def rician_noise(
    signal: Tensor, deviation: Tensor | float, generator: torch.Generator | None = None
) -> Tensor:
    """Return the magnitude of a signal with complex Gaussian noise (qSynth eq. 7; Gudbjartsson and Patz 1995).

    sqrt((S + n1)^2 + n2^2) with independent n1, n2 from N(0, deviation). Where there is no signal, it is Rayleigh
    distributed with mean deviation * sqrt(pi / 2).

    Args:
        signal: noise-free magnitude image.
        deviation: of the real and of the imaginary part, in the units of the signal; broadcasts.
        generator: source of randomness on the signal's device.

    Raises:
        OptionError: the deviation is negative.
    """
    if bool((torch.as_tensor(deviation) < 0).any()):
        raise OptionError("expected a noise deviation of at least 0, got a negative one; pass its magnitude")
    shape = (2, *signal.shape)
    noise = torch.randn(shape, generator=generator, device=signal.device, dtype=signal.dtype) * deviation
    return torch.sqrt((signal + noise[0]) ** 2 + noise[1] ** 2)
