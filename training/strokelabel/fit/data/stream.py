"""Streams of the training loop: batches of images with targets, each a pure function of its index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from strokelabel.types import ClassBatch, ImageBatch


@dataclass(frozen=True)
class Batch:
    """Images with the classes of their voxels.

    Attributes:
        image: (batch, 1, x, y, z) float32, normalised as for prediction.
        target: (batch, x, y, z) uint8 class indices.
        partial: (batch,) bool; true where only "lesion or not" is known, so that the target holds nothing but
            the lesion class and background.
        weight: factor of the batch's loss.
    """

    image: ImageBatch
    target: ClassBatch
    partial: Tensor
    weight: float = 1.0

    def to(self, device: torch.device) -> Self:
        """Move the batch to a device; `partial` stays where it is, since only the host reads it."""
        image = self.image.to(device, non_blocking=True)
        target = self.target.to(device, non_blocking=True)
        return replace(self, image=image, target=target)


class BatchStream(Protocol):
    """An endless seeded stream of training batches."""

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0.

        A pure function of `step`: asking twice gives the same values, asking out of order changes nothing.
        Training can therefore go on at any step without stored generator state. One optimiser step that
        accumulates n batches over w processes takes the n*w batches that follow those of the step before.
        """
        ...


class ValidationStream(Protocol):
    """A finite list of validation batches; the same ones every time."""

    def __len__(self) -> int:
        """Return the number of batches."""
        ...

    def batch(self, index: int) -> Batch:
        """Return the batch at an index, from 0 to the length less one; a pure function of it."""
        ...
