"""A seeded source of random parameters, and helpers to batch what it draws."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


class Sampler:
    """Source of random parameters from one seed, on the CPU, so that they are the same on every device."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, bounds: tuple[float, float]) -> float:
        """Draw one number from U(low, high)."""
        low, high = bounds
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def uniform_tensor(self, shape: Sequence[int], low: float, high: float) -> Tensor:
        """Draw independent numbers from U(low, high)."""
        return low + (high - low) * torch.rand(tuple(shape), generator=self.generator)

    def normal(self, mean: float = 0.0, deviation: float = 1.0) -> float:
        """Draw one number from N(mean, deviation)."""
        return mean + deviation * float(torch.randn((), generator=self.generator))

    def integer(self, low: int, high: int) -> int:
        """Draw one integer from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def flip(self, probability: float) -> bool:
        """Return True with this probability."""
        return float(torch.rand((), generator=self.generator)) < probability

    def choice(self, weights: Sequence[float]) -> int:
        """Draw an index with these relative weights."""
        return int(torch.multinomial(torch.tensor(weights, dtype=torch.float64), 1, generator=self.generator))

    def seed(self) -> int:
        """Draw a seed for randomness that is drawn on the device (one value per voxel)."""
        return int(torch.randint(0, 2**62, (), generator=self.generator))


def derived_sampler(seed: int, purpose: str) -> Sampler:
    """Return a source of randomness of its own for one purpose of an image.

    What is drawn from it leaves alone what is drawn for anything else. Hashed, so that neighbouring seeds have nothing
    in common.
    """
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return Sampler(int.from_bytes(digest[:7], "big"))


def pad_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Stack tensors of unequal shapes, zero-padded at the end of each axis."""
    shape = [max(sizes) for sizes in zip(*(t.shape for t in tensors), strict=True)]
    result = tensors[0].new_zeros((len(tensors), *shape))
    for row, tensor in zip(result, tensors, strict=True):
        row[tuple(slice(n) for n in tensor.shape)] = tensor
    return result


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """Move a few numbers to a device without waiting for what is queued there.

    A plain `.to(device)` waits until a GPU has done all that it was given before: of an image, with its hundreds of
    small kernels, that would be dozens of times.
    """
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def column(values: Sequence[float], device: torch.device) -> Tensor:
    """Return one value per batch item as a (batch, 1, 1, 1, 1) tensor."""
    return on_device(torch.tensor(values, dtype=torch.float32), device).view(-1, 1, 1, 1, 1)


def voxel_noise(seeds: Sequence[int], shape: Sequence[int], device: torch.device) -> Tensor:
    """Draw standard normal noise, one seed per batch item.

    Returns:
        (batch, *shape); an item depends on its own seed alone, not on the batch it is in.
    """
    items = []
    for seed in seeds:
        generator = torch.Generator(device=device).manual_seed(seed)
        items.append(torch.randn(tuple(shape), generator=generator, device=device))
    return torch.stack(items)
