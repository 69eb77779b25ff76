"""Synthetic images as training and validation streams."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from strokelabel.fit.data.stream import Batch
from strokelabel.synthesis.benchmark import ValidationCase, make_case
from strokelabel.synthesis.generator import Synthesizer, SyntheticBatch


def stream_seed(seed: int, index: int, purpose: str = "") -> int:
    """Seed of the item at this position of a stream: well mixed, and the same on every machine.

    Args:
        seed: of the stream.
        index: position.
        purpose: what is drawn, where one position needs several seeds.
    """
    digest = hashlib.sha256(f"{seed}/{index}{purpose}".encode()).digest()
    return int.from_bytes(digest[:7], "little") + 2**40


class SyntheticStream:
    """An endless stream of synthetic batches.

    Args:
        synthesizer: makes the images.
        batch_size: items per batch.
        seed: decides every image of the stream.
    """

    def __init__(self, synthesizer: Synthesizer, batch_size: int, seed: int) -> None:
        self.synthesizer = synthesizer
        self.batch_size = batch_size
        self.seed = seed

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; a pure function of the step and the stream's seed."""
        first = step * self.batch_size
        return self.items(range(first, first + self.batch_size))

    def items(self, indices: Sequence[int]) -> Batch:
        """Return the items at these positions of the stream, as a batch; each depends on its own position alone."""
        return as_batch(self.synthesizer.generate([stream_seed(self.seed, index) for index in indices]))


class SyntheticValidation:
    """Synthetic validation set as a stream of single images.

    Args:
        synthesizer: with the validation settings, unseen heads and unseen lesions.
        cases: which images.
    """

    def __init__(self, synthesizer: Synthesizer, cases: list[ValidationCase]) -> None:
        self.synthesizer = synthesizer
        self.cases = cases

    def __len__(self) -> int:
        return len(self.cases)

    def batch(self, index: int) -> Batch:
        """Return the image at this position."""
        return as_batch(make_case(self.synthesizer, self.cases[index]))


def as_batch(synthetic: SyntheticBatch) -> Batch:
    """Return a synthetic batch as the training loop takes it; every voxel's class is known."""
    partial = torch.zeros(len(synthetic.image), dtype=torch.bool)
    return Batch(synthetic.image, synthetic.target, partial)
