"""Generated images on their way: what makes them in groups, memory that is shared with it, and what was made so far.

Groups are made by the trainer itself here, and by other processes in `strokelabel.fit.data.generation.processes`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from strokelabel.fit.data.stream import Batch, ItemStream
from strokelabel.fit.loop.prefetch import page_locked


class ImageSource(Protocol):
    """Source of images in groups: group g holds the items g * together to (g + 1) * together - 1 of a stream.

    Groups are made as a whole and always in the same way, so that the values of an image depend neither on who asks
    for it nor on what is made beside it.
    """

    @property
    def ahead(self) -> int:
        """Groups that are worth asking for before they are needed."""
        ...

    def submit(self, group: int) -> Future[Batch]:
        """Ask for a group.

        Returns:
            Its images in order, on any device, once they are made; or the error that prevented it.
        """
        ...

    def close(self) -> None:
        """End what was begun; nothing may be requested afterwards."""
        ...


class LocalSource:
    """Source that makes each group synchronously, in the calling thread.

    Args:
        stream: makes the images.
        together: images of a group.
    """

    ahead = 0

    def __init__(self, stream: ItemStream, together: int = 1) -> None:
        self.stream = stream
        self.together = together

    def submit(self, group: int) -> Future[Batch]:
        """Make a group; an error is raised by the future's `result`."""
        made: Future[Batch] = Future()
        first = group * self.together
        try:
            made.set_result(self.stream.items(range(first, first + self.together)))
        except Exception as error:  # it is raised where the result is read
            made.set_exception(error)
        return made

    def close(self) -> None:
        """Do nothing: requested groups are finished."""


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


@dataclass(frozen=True)
class _Request:
    """A group on its way, and the first position of the stream that needs it."""

    position: int
    made: Future[Batch]


class PendingGroups:
    """Requests for groups: each is made once, and dropped when it is no longer needed.

    Args:
        source: makes the groups.
    """

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._requests: dict[int, _Request] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def ask(self, group: int, position: int) -> None:
        """Ask for a group that a position needs, unless it is on its way."""
        if group not in self._requests:
            self._requests[group] = _Request(position, self._source.submit(group))

    def take(self, group: int) -> Batch:
        """Wait for a requested group; raises what prevented it."""
        return self._requests.pop(group).made.result()

    def drop(self, before: int | None, keep: Collection[int]) -> None:
        """Cancel groups, except some.

        Args:
            before: those that only positions before this one need; None for all.
            keep: groups that stay.
        """
        for group, request in list(self._requests.items()):
            if group not in keep and (before is None or request.position < before):
                self._requests.pop(group).made.cancel()


@dataclass(frozen=True)
class PooledImage:
    """One image.

    Attributes:
        image: (1, x, y, z) of the pool's type.
        target: (x, y, z) uint8 class indices.
        partial: whether only the lesion is known.
    """

    image: Tensor
    target: Tensor
    partial: bool


class ImagePool:
    """A cache of images by their number; whatever it lacks can be made again.

    Args:
        device: where images are kept.
        dtype: of the kept intensities. Float16 halves the memory, and rounds z-scored intensities by less than a
            thousandth.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype = torch.float16) -> None:
        self.device = device
        self.dtype = dtype
        self._images: dict[int, PooledImage] = {}

    def __len__(self) -> int:
        return len(self._images)

    def __contains__(self, number: int) -> bool:
        return number in self._images

    def __iter__(self) -> Iterator[int]:
        return iter(self._images)

    def add(self, first: int, batch: Batch) -> None:
        """Keep the images of a batch under the numbers from `first` on."""
        source = page_locked(batch) if self.device.type == "cuda" else batch
        image = source.image.to(self.device, non_blocking=True).to(self.dtype)
        target = source.target.to(self.device, non_blocking=True)
        for place, partial in enumerate(batch.partial.tolist()):
            # Copies, so that a batch can go when one of its images stays.
            self._images[first + place] = PooledImage(
                image[place].clone(), target[place].clone(), bool(partial)
            )

    def get(self, number: int) -> PooledImage:
        """Return the image of a number.

        Raises:
            KeyError: it is not there.
        """
        return self._images[number]

    def keep(self, oldest: int, newest: int) -> None:
        """Drop the images whose numbers lie outside these two."""
        for number in [number for number in self._images if not oldest <= number <= newest]:
            del self._images[number]
