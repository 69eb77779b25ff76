"""Label maps with errors as training and validation streams."""

from __future__ import annotations

import torch

from strokelabel.fit.data.stream import Batch
from strokelabel.fit.data.synthetic_streams import stream_seed
from strokelabel.synthesis.label_noise.generator import LabelNoiseGenerator, NoisyLabels

_VALIDATION_SEED = 60_000
"""First seed of the validation; training seeds are hashed and never this small."""


class LabelNoiseStream:
    """An endless stream of label maps with errors, as images, and the correct ones, as targets.

    Args:
        generator: makes them.
        batch_size: items per batch.
        seed: decides every label map of the stream.
    """

    def __init__(self, generator: LabelNoiseGenerator, batch_size: int, seed: int) -> None:
        self.generator, self.batch_size, self.seed = generator, batch_size, seed

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; a pure function of the step and the stream's seed."""
        first = step * self.batch_size
        items, variations = range(first, first + self.batch_size), self.generator.noise.variations
        anatomies = {
            number: self.generator.sample_anatomy(stream_seed(self.seed, number, "anatomy"))
            for number in sorted({item // variations for item in items})
        }
        return _as_batch(
            self.generator.apply(
                [
                    self.generator.sample(stream_seed(self.seed, item), anatomy=anatomies[item // variations])
                    for item in items
                ]
            )
        )


class LabelNoiseValidation:
    """Label maps of unseen heads, the same ones every time, one to a batch: with errors and correct, in turn.

    Args:
        generator: with heads and lesions that training does not see.
        count: how many.
    """

    def __init__(self, generator: LabelNoiseGenerator, count: int) -> None:
        self.generator, self.count = generator, count

    def __len__(self) -> int:
        return self.count

    def batch(self, index: int) -> Batch:
        """Return the label map at this position."""
        parameters = self.generator.sample(_VALIDATION_SEED + index // 2, correct=index % 2 == 1)
        return _as_batch(self.generator.apply([parameters]))


def _as_batch(noisy: NoisyLabels) -> Batch:
    return Batch(noisy.maps, noisy.target, torch.zeros(len(noisy.maps), dtype=torch.bool))
