"""Memory that a generator process and the trainer share: one group of images on its way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strokelabel.fit.data.stream import Batch

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class ImageSlot:
    """Room for the images of one group; it can be handed to a process that is being started, and to no other.

    Attributes:
        memory: shared bytes. The standard library takes them from a file that has no name, in memory if there is room.
        count: images of a group.
        shape: voxels (x, y, z) of an image.
    """

    memory: Any
    count: int
    shape: tuple[int, int, int]

    @classmethod
    def allocate(cls, context: SpawnContext, count: int, shape: tuple[int, int, int]) -> ImageSlot:
        """Allocate a slot for groups of this size."""
        voxels = count * math.prod(shape)
        return cls(context.RawArray("B", voxels * (_FLOAT_BYTES + 1) + count), count, shape)

    def write(self, batch: Batch) -> None:
        """Put a group in.

        Raises:
            ValueError: its images have another number, shape or type than the slot is for.
        """
        for place, values in zip(self._parts(), (batch.image, batch.target, batch.partial), strict=True):
            if (values.shape, values.dtype) != (place.shape, place.dtype):
                raise ValueError(
                    f"expected {tuple(place.shape)} {place.dtype}, got {tuple(values.shape)} {values.dtype}"
                )
            place.copy_(values)

    def read(self) -> Batch:
        """Copy the group."""
        image, target, partial = (place.clone() for place in self._parts())
        return Batch(image, target, partial)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return image, target and partial, as views of the memory."""
        whole = torch.from_numpy(np.frombuffer(self.memory, np.uint8))
        voxels = self.count * math.prod(self.shape)
        image, target, partial = whole.split([_FLOAT_BYTES * voxels, voxels, self.count])
        return (
            image.view(torch.float32).view(self.count, 1, *self.shape),
            target.view(self.count, *self.shape),
            partial.view(torch.bool),
        )
