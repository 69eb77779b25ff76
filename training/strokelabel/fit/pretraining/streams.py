"""Streams of pairs for training and validation."""

from __future__ import annotations

from functools import lru_cache

import torch

from strokelabel.fit.data.synthetic_streams import stream_seed
from strokelabel.fit.pretraining.config import PretrainingConfig
from strokelabel.fit.pretraining.views import ContrastPairs, PairBatch, joined
from strokelabel.fit.recipe import Recipe
from strokelabel.synthesis.generator import Synthesizer

_VALIDATION_SEED = 80_000
"""First seed of the validation; training seeds are hashed and never this small."""


class PairStream:
    """An endless stream of pairs.

    With `reuse`, pairs come from a pool that is shown several times in other orders before the next one is made.

    Args:
        pairs: makes them.
        batch_size: pairs per batch.
        seed: decides every pair of the stream.
    """

    def __init__(self, pairs: ContrastPairs, batch_size: int, seed: int) -> None:
        self.pairs, self.batch_size, self.seed = pairs, batch_size, seed
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

    def _make(self, subject: int) -> PairBatch:
        return self.pairs.generate(stream_seed(self.seed, subject))


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
    recipe: Recipe, config: PretrainingConfig, seen: Synthesizer, unseen: Synthesizer
) -> tuple[PairStream, PairValidation]:
    """Return the streams of training and of validation.

    Args:
        recipe: pairs per batch, batches of the validation (`validation.per_family`), and the seed.
        config: how two views differ.
        seen: draws the subjects of training.
        unseen: draws those of validation.
    """
    pairs = ContrastPairs(seen, config), ContrastPairs(unseen, config)
    batch_size = recipe.training.batch_size
    return (
        PairStream(pairs[0], batch_size, recipe.seed),
        PairValidation(pairs[1], batch_size, recipe.validation.per_family),
    )
