"""The streams of real images that a recipe asks for."""

from __future__ import annotations

import torch

from strokelabel.errors import DataError
from strokelabel.fit.real_images.mixture import AlternatingStream, JoinedStream, Part
from strokelabel.fit.real_images.painted_scan_stream import PaintedScanStream
from strokelabel.fit.real_images.prepared_images import RealImages
from strokelabel.fit.real_images.slab_stream import SlabStream
from strokelabel.fit.recipe import Recipe
from strokelabel.fit.streams import BatchStream
from strokelabel.synthesis.lesion_bank import LesionBank
from strokelabel.synthesis.prepared import PreparedData


def with_real_images(
    volumes: BatchStream, recipe: Recipe, data: PreparedData, bank: LesionBank, device: torch.device | str
) -> BatchStream:
    """A stream of volumes with the real images of a recipe: scans in its batches, slabs in batches of their own.

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
    """The slabs of a recipe.

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
    """The painted scans of a recipe.

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
