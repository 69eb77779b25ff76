"""Generated images kept in memory, as small as they can be, by their number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.fit.cuda_lane import page_locked
from strokelabel.fit.streams import Batch


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
        """The image of a number.

        Raises:
            KeyError: it is not there.
        """
        return self._images[number]

    def keep(self, oldest: int, newest: int) -> None:
        """Drop the images whose numbers lie outside these two."""
        for number in [number for number in self._images if not oldest <= number <= newest]:
            del self._images[number]
