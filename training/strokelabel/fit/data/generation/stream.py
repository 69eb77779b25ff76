"""Generated images as a training stream, each used several times."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.fit.data.generation.pool import ImagePool, ImageSource, PendingGroups, PooledImage
from strokelabel.fit.data.generation.replay import ReplayConfig, ReplayParameters, apply_replay, sample_replay
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.data.synthetic_streams import stream_seed

_REPLAY = "replay"
"""Apart, so that replays and images are not drawn with the same numbers."""


@dataclass(frozen=True)
class Draw:
    """One item of the stream: image `number`, as it was made or, with parameters, changed."""

    number: int
    parameters: ReplayParameters | None


class ReplayStream:
    """A stream that uses each generated image several times.

    Item n is either the image n / reuse as it was made, where that is a whole number, or a replay of one of the last
    `pool` images, chosen and changed by a seed that n alone decides. An item is therefore a pure function of its
    position. The pool is only a cache: images that are missing after a resume are made again when they are drawn.

    Where others make the images, the stream asks for those that the coming items will need, which it knows exactly.

    Args:
        source: makes the images, in groups of `config.together`.
        config: see `ReplayConfig`.
        batch_size: items per batch.
        seed: decides the replays.
        device: where images are kept, changed and delivered.
        stride: distance between the batches that will be requested: the number of processes that share the stream.

    Attributes:
        made: images made so far.
        delivered: items delivered so far.
        waited_seconds: time spent waiting for images, or making them.
    """

    def __init__(
        self,
        source: ImageSource,
        config: ReplayConfig,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        stride: int = 1,
    ) -> None:
        self.source = source
        self.config = config
        self.batch_size = batch_size
        self.seed = seed
        self.stride = stride
        self.device = torch.device(device)
        self.made = self.delivered = 0
        self.waited_seconds = 0.0
        # What is never replayed is delivered exactly as it was made.
        self._pool = ImagePool(self.device, torch.float16 if config.reuse > 1 else torch.float32)
        self._pending = PendingGroups(source)
        self._position, self._next = -1, 0

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; a pure function of the step and the seeds."""
        first = step * self.batch_size
        return self.items(range(first, first + self.batch_size))

    def items(self, indices: Sequence[int]) -> Batch:
        """Return the items at these positions of the stream, as a batch; each depends on its own position alone."""
        draws = [self.draw(index) for index in indices]
        needed = sorted({self._group(draw) for draw in draws if draw.number not in self._pool})
        self._move_to(min(indices), max(indices), needed)
        for group in needed:
            self._pending.ask(group, max(indices))
        self._look_ahead(len(needed))
        start = time.monotonic()
        for group in needed:
            self._pool.add(group * self.config.together, self._pending.take(group))
            self.made += self.config.together
        self.waited_seconds += time.monotonic() - start
        pooled = [self._pool.get(draw.number) for draw in draws]
        self.delivered += len(draws)
        newest = max(indices) // self.config.reuse
        self._pool.keep(newest - self.config.pool + 1, newest + self.config.together)
        shown = [_show(image, draw) for image, draw in zip(pooled, draws, strict=True)]
        return Batch(
            torch.stack([image for image, _ in shown]),
            torch.stack([target for _, target in shown]),
            torch.tensor([image.partial for image in pooled]),
        )

    def draw(self, index: int) -> Draw:
        """Return the item at a position."""
        newest, place = divmod(index, self.config.reuse)
        if place == 0:
            return Draw(newest, None)
        parameters = sample_replay(stream_seed(self.seed, index, _REPLAY), self.config, newest + 1)
        return Draw(newest - parameters.age, parameters)

    def close(self) -> None:
        """End the making of images; the stream cannot be used afterwards."""
        self.source.close()

    def _group(self, draw: Draw) -> int:
        return draw.number // self.config.together

    def _move_to(self, first: int, last: int, needed: Sequence[int]) -> None:
        """Let the look-ahead begin after the last of these positions, unless it is beyond them already."""
        if last < self._position:
            self._pending.drop(None, needed)
        else:
            self._pending.drop(first, needed)
        if not self._position <= last < self._next:
            self._next = self._following(last)
        self._position = last

    def _look_ahead(self, needed: int) -> None:
        """Ask for what the coming items lack, up to what the source can be ahead of those that are needed now."""
        while len(self._pending) < self.source.ahead + needed:
            draw = self.draw(self._next)
            if draw.number not in self._pool:
                self._pending.ask(self._group(draw), self._next)
            self._next = self._following(self._next)

    def _following(self, position: int) -> int:
        """Return the position that is requested after this one: the next of the batch, or the first of the
        next batch.
        """
        step, place = divmod(position, self.batch_size)
        return position + 1 if place + 1 < self.batch_size else (step + self.stride) * self.batch_size


def _show(pooled: PooledImage, draw: Draw) -> tuple[Tensor, Tensor]:
    """Return the image and target of an item."""
    image = pooled.image.float()
    if draw.parameters is None:
        return image, pooled.target
    return apply_replay(image, pooled.target, draw.parameters)
