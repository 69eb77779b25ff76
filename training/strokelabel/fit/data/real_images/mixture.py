"""Streams of real images that a recipe asks for, in turn with synthetic volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from strokelabel.errors import DataError
from strokelabel.fit.data.real_images.painting import PaintedScanStream
from strokelabel.fit.data.real_images.scans import RealImages
from strokelabel.fit.data.real_images.slabs import SlabStream
from strokelabel.fit.data.stream import Batch, BatchStream
from strokelabel.fit.recipe import Recipe
from strokelabel.synthesis.lesions.bank import LesionBank
from strokelabel.synthesis.prepared.dataset import PreparedData


def with_real_images(
    volumes: BatchStream, recipe: Recipe, data: PreparedData, bank: LesionBank, device: torch.device | str
) -> BatchStream:
    """Add the real images of a recipe to a stream of volumes: scans in its batches, slabs in batches of their own.

    Args:
        volumes: batches of volumes.
        recipe: how many of what.
        data: the prepared folder, with slices and scans.
        bank: lesions to paint.
        device: where images are computed.

    Raises:
        DataError: the folder has no slices or scans, but the recipe asks for them.
    """
    images = RealImages.load(data.folder)
    if recipe.scans is not None:
        volumes = JoinedStream([volumes, make_scan_stream(recipe, images, bank, device)])
    if recipe.slabs is None:
        return volumes
    slabs = make_slab_stream(recipe, images, device)
    return AlternatingStream([Part(volumes), Part(slabs, recipe.slabs.weight)])


def make_slab_stream(recipe: Recipe, images: RealImages, device: torch.device | str) -> SlabStream:
    """Return the slabs of a recipe.

    Raises:
        DataError: the recipe has no slabs, or a view of it has no slices.
    """
    if recipe.slabs is None:
        raise DataError(f"{recipe.name}: expected a recipe with a section `slabs`, it has none")
    shape, spacing_mm = recipe.synthesis.shape, recipe.synthesis.spacing_mm
    return SlabStream(
        images.slices, recipe.slabs, shape, spacing_mm, _lesion_class(recipe), recipe.seed, device
    )


def make_scan_stream(
    recipe: Recipe, images: RealImages, bank: LesionBank, device: torch.device | str
) -> PaintedScanStream:
    """Return the painted scans of a recipe.

    Raises:
        DataError: the recipe has no scans, or there are none prepared.
    """
    if recipe.scans is None:
        raise DataError(f"{recipe.name}: expected a recipe with a section `scans`, it has none")
    return PaintedScanStream(
        images.scans, bank, recipe.scans, recipe.synthesis, _lesion_class(recipe), recipe.seed, device
    )


def _lesion_class(recipe: Recipe) -> int:
    assert recipe.lesion_class is not None, "a recipe with real images has a lesion class"
    return recipe.lesion_class


@dataclass(frozen=True)
class Part:
    """One of several streams.

    Attributes:
        stream: its batches.
        weight: factor of their loss in the loss of an optimiser step.
    """

    stream: BatchStream
    weight: float = 1.0


class AlternatingStream:
    """Batches of several streams in turn.

    The n-th batch of a part is the batch n of its stream. Where an optimiser step accumulates as many batches as there
    are parts (or a multiple), it has as many of each, and its loss is the sum of the parts' mean losses times their
    weights.

    Args:
        parts: at least one; shapes may differ from part to part.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)

    def batch(self, step: int) -> Batch:
        """Return the batch at a position; a pure function of it."""
        turn, place = divmod(step, len(self.parts))
        part = self.parts[place]
        # An optimiser step takes the mean over its batches, not the sum.
        return replace(part.stream.batch(turn), weight=part.weight * len(self.parts))


class JoinedStream:
    """Items of several streams in each batch, one stream after another.

    Args:
        streams: at least one, with items of one shape.
    """

    def __init__(self, streams: Sequence[BatchStream]) -> None:
        self.streams = tuple(streams)

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; a pure function of it."""
        parts = [stream.batch(step) for stream in self.streams]
        return Batch(
            torch.cat([part.image for part in parts]),
            torch.cat([part.target for part in parts]),
            torch.cat([part.partial for part in parts]),
        )
