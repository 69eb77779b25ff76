"""Streams of small images of noise, for tests of who makes images and when."""

from __future__ import annotations

import os
import signal
import time

import torch

from strokelabel.errors import DataError
from strokelabel.fit.data.stream import Batch

SHAPE = (6, 8, 10)


class Images:
    """Images of noise, each decided by its number; every third one is partial. Remembers what it made."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def items(self, indices) -> Batch:
        self.made += indices
        images, targets = [], []
        for index in indices:
            generator = torch.Generator().manual_seed(100 + index)
            image = torch.randn(1, *SHAPE, generator=generator)
            target = torch.zeros(SHAPE, dtype=torch.uint8)
            target[index % 3 : 4, 2:5, 3:7] = 5
            images.append(image)
            targets.append(target)
        partial = torch.tensor([index % 3 == 2 for index in indices])
        return Batch(torch.stack(images), torch.stack(targets), partial)


class Troubled(Images):
    """Images of which some cannot be made."""

    def items(self, indices) -> Batch:
        for index in indices:
            if index == 3:
                raise DataError("image 3 has no lesion")
            if index == 5:
                raise ZeroDivisionError("five")
            if index == 666:
                os.kill(os.getpid(), signal.SIGKILL)
            if index >= 1000:
                time.sleep(600)
        return super().items(indices)


def open_images(place: str) -> Images:
    return Images()


def open_troubled(place: str) -> Images:
    return Troubled()


def open_nothing(place: str) -> Images:
    raise DataError(f"no data on {place}")


def assert_equal(one: Batch, other: Batch) -> None:
    for name in ("image", "target", "partial"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
