"""Annotated scans as training and validation streams."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.data.synthetic_streams import stream_seed
from strokelabel.geometry import CropBox
from strokelabel.networks.normalization import normalize

if TYPE_CHECKING:
    from strokelabel.fit.data.annotated_scans.augmentation import RealAugmentation
    from strokelabel.fit.data.annotated_scans.scans import RealScan

_ORDER, _CHANGES = "order", "augmentation"
"""Apart, so that the order of scans and their augmentation are not drawn with the same numbers."""


class RealStream:
    """An endless stream of augmented scans, each seen once before any is seen again.

    Args:
        scans: at least one.
        augmentation: random changes, and the crop.
        lesion: class index of the lesion; the rest is background.
        batch_size: items per batch.
        seed: decides order and augmentation.

    Raises:
        DataError: there are no scans.
    """

    def __init__(
        self,
        scans: Sequence[RealScan],
        augmentation: RealAugmentation,
        lesion: int,
        batch_size: int,
        seed: int,
    ) -> None:
        if not scans:
            raise DataError("expected at least one scan with a lesion mask to train on, got none")
        self.scans = tuple(scans)
        self.augmentation = augmentation
        self.lesion = lesion
        self.batch_size = batch_size
        self.seed = seed

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; a pure function of the step and the stream's seed."""
        first = step * self.batch_size
        return self.items(range(first, first + self.batch_size))

    def items(self, indices: Sequence[int]) -> Batch:
        """Return the items at these positions of the stream, as a batch; each depends on its own position alone."""
        pairs = [self._item(index) for index in indices]
        return as_partial_batch([image for image, _ in pairs], [mask for _, mask in pairs], self.lesion)

    def scan(self, index: int) -> RealScan:
        """Return the scan at a position: every round through the scans has its own order."""
        turn, position = divmod(index, len(self.scans))
        generator = torch.Generator().manual_seed(stream_seed(self.seed, turn, _ORDER))
        order = torch.randperm(len(self.scans), generator=generator)
        return self.scans[int(order[position])]

    def _item(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self.scan(index).load()
        return self.augmentation(image, mask, stream_seed(self.seed, index, _CHANGES))


class RealValidation:
    """Scans as they are, one to a batch, the whole head padded to what the network takes.

    Args:
        scans: which scans.
        multiple: sides become multiples of it, and at least twice it.
        lesion: class index of the lesion.
        device: where batches lie.
    """

    def __init__(
        self, scans: Sequence[RealScan], multiple: int, lesion: int, device: torch.device | str = "cpu"
    ) -> None:
        self.scans = tuple(scans)
        self.multiple = multiple
        self.lesion = lesion
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.scans)

    def batch(self, index: int) -> Batch:
        """Return the scan at this position, without augmentation."""
        image, mask = self.scans[index].load()
        x, y, z = (max(ceil(side / self.multiple), 2) * self.multiple for side in image.shape)
        box = _centred((x, y, z), image)
        padded = torch.from_numpy(box.crop(image.numpy())).to(self.device)
        label = torch.from_numpy(box.crop(mask.numpy())).to(self.device)
        return as_partial_batch([normalize(padded[None, None])[0]], [label], self.lesion)


def as_partial_batch(images: Sequence[Tensor], masks: Sequence[Tensor], lesion: int) -> Batch:
    """Return the scans as a batch in which only the lesion is known.

    Args:
        images: (1, x, y, z) each.
        masks: (x, y, z) bool each.
        lesion: class index of the lesion.
    """
    target = torch.stack([mask.to(torch.uint8) * lesion for mask in masks])
    return Batch(torch.stack(list(images)), target, torch.ones(len(images), dtype=torch.bool))


def _centred(shape: tuple[int, int, int], volume: Tensor) -> CropBox:
    x, y, z = (int(size) for size in volume.shape)
    start = tuple((size - side) // 2 for size, side in zip((x, y, z), shape, strict=True))
    stop = tuple(first + side for first, side in zip(start, shape, strict=True))
    return CropBox((x, y, z), (start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
