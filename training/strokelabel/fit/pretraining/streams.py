"""Streams of pairs for training and validation."""

from __future__ import annotations

from functools import lru_cache
from math import floor

import torch

from strokelabel.fit.data.real_images.scans import RealImages
from strokelabel.fit.data.synthetic_streams import stream_seed
from strokelabel.fit.pretraining.real_scans import RealPairs
from strokelabel.fit.pretraining.views import ContrastPairs, PairBatch, joined
from strokelabel.fit.recipe import Recipe
from strokelabel.synthesis.generator import Synthesizer
from strokelabel.synthesis.prepared.dataset import PreparedData

_VALIDATION_SEED = 80_000
"""First seed of the validation; training seeds are hashed and never this small."""


class PairStream:
    """An endless stream of pairs.

    With `reuse`, pairs come from a pool that is shown several times in other orders before the next one is made.

    Args:
        pairs: makes them.
        batch_size: pairs per batch.
        seed: decides every pair of the stream.
        real: makes pairs of real scans, as many as `real_fraction` of the settings says, evenly spread.
    """

    def __init__(
        self, pairs: ContrastPairs, batch_size: int, seed: int, real: RealPairs | None = None
    ) -> None:
        self.pairs, self.batch_size, self.seed, self.real = pairs, batch_size, seed, real
        config = pairs.config
        self._reuse, self._pool = config.reuse, config.pool if config.reuse > 1 else 1
        # Twice the pool, since a batch may hold the last pairs of one and the first of the next.
        self._pair = lru_cache(maxsize=2 * self._pool if self._reuse > 1 else 0)(self._make)

    def batch(self, step: int) -> PairBatch:
        """Return the batch of a step; a pure function of the step and the stream's seed."""
        first = step * self.batch_size
        items = range(first, first + self.batch_size)
        return joined(
            [self.pairs.shown(self._pair(self.subject(i)), stream_seed(self.seed, i, "use")) for i in items]
        )

    def subject(self, item: int) -> int:
        """Return the number of the subject at a position of the stream."""
        turn, place = divmod(item, self._pool)
        order = torch.Generator().manual_seed(stream_seed(self.seed, turn, "order"))
        chosen = int(torch.randperm(self._pool, generator=order)[place])
        return turn // self._reuse * self._pool + chosen

    def is_real(self, subject: int) -> bool:
        """Return whether the subject with this number is a real scan."""
        fraction = self.pairs.config.real_fraction if self.real is not None else 0.0
        return floor((subject + 1) * fraction) > floor(subject * fraction)

    def _make(self, subject: int) -> PairBatch:
        seed = stream_seed(self.seed, subject)
        if self.real is not None and self.is_real(subject):
            return self.real.generate(seed)
        return self.pairs.generate(seed)


class PairValidation:
    """Pairs of unseen heads with unseen lesions, the same ones every time, in batches as large as those of training.

    Args:
        pairs: with heads and lesions that training does not see.
        batch_size: pairs per batch.
        count: number of batches.
    """

    def __init__(self, pairs: ContrastPairs, batch_size: int, count: int) -> None:
        self.pairs, self.batch_size, self.count = pairs, batch_size, count
        # Where the pairs of training are kept in memory, these fit too.
        self._batch = lru_cache(maxsize=count if pairs.config.reuse > 1 else 0)(self._make)

    def __len__(self) -> int:
        return self.count

    def batch(self, index: int) -> PairBatch:
        """Return the pairs at this position, without holes."""
        return self._batch(index)

    def _make(self, index: int) -> PairBatch:
        first = _VALIDATION_SEED + index * self.batch_size
        return joined([self.pairs.generate(seed) for seed in range(first, first + self.batch_size)])


def pair_streams(
    recipe: Recipe, data: PreparedData, seen: Synthesizer, unseen: Synthesizer
) -> tuple[PairStream, PairValidation]:
    """Return the streams of training and of validation, which has no real scans.

    Args:
        recipe: of a pre-training: pairs per batch, batches of the validation (`validation.per_family`), and the seed.
        data: with real scans, if the recipe asks for them.
        seen: draws the subjects of training.
        unseen: draws those of validation.

    Raises:
        DataError: the recipe asks for real scans, and there are none.
    """
    config, batch_size = recipe.pretraining, recipe.training.batch_size
    assert config is not None, "a recipe that pre-trains has a section for it"
    real = None
    if config.real_fraction:
        real = RealPairs(RealImages.load(data.folder).scans, recipe.synthesis, config, seen.device)
    return (
        PairStream(ContrastPairs(seen, config), batch_size, recipe.seed, real),
        PairValidation(ContrastPairs(unseen, config), batch_size, recipe.validation.per_family),
    )
