"""Real slices as slabs: a training stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.fit.data.annotated_scans.stream import as_partial_batch
from strokelabel.fit.data.real_images.config import SlabConfig
from strokelabel.fit.data.real_images.slabs import (
    SlabParameters,
    SlabShape,
    Triple,
    render_slab,
    sample_shape,
    sample_slab,
)
from strokelabel.fit.data.real_images.slices import RealSlices
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.data.synthetic_stream import stream_seed
from strokelabel.io.slice_files import View
from strokelabel.synthesis.sampling import Sampler

_TRIES = 3
_SHAPE, _ITEM = "slab batch", "slab"


@dataclass(frozen=True)
class SlabPart:
    """A slice in a slab.

    Attributes:
        index: of the slice among those of its view.
        depth: voxels of the slab along the third axis that are its share.
        parameters: see `slabs.sample_slab`.
    """

    index: int
    depth: int
    parameters: SlabParameters

    def filled(self) -> SlabPart:
        """Return the same part without air before or after its slice."""
        return replace(self, parameters=replace(self.parameters, first=0, filled=self.depth))


class SlabStream:
    """An endless stream of slabs; each batch is of one view.

    Args:
        slices: of all views with a frequency above 0.
        config: see `SlabConfig`.
        shape: voxels (x, y, z) of a whole volume.
        spacing_mm: voxel size.
        lesion: class index of the lesion.
        seed: decides every slab.
        device: where slabs are computed.

    Raises:
        DataError: a view has no slices.
    """

    def __init__(
        self,
        slices: Sequence[RealSlices],
        config: SlabConfig,
        shape: Triple,
        spacing_mm: float,
        lesion: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.shape, self.spacing_mm = config, shape, spacing_mm
        self.lesion, self.seed = lesion, seed
        self.device = torch.device(device)
        self._views = {
            view: _View.of([part for part in slices if part.view == view], view, config, self.device)
            for view, weight in config.views.items()
            if weight > 0
        }

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; a pure function of the step and the stream's seed."""
        items = [self.render(step, place) for place in range(self.config.count)]
        return as_partial_batch([image[None] for image, _ in items], [mask for _, mask in items], self.lesion)

    def batch_shape(self, step: int) -> SlabShape:
        """Return the shape of a step's batch, by its view."""
        return sample_shape(Sampler(stream_seed(self.seed, step, _SHAPE)), self.config)

    def sample(self, step: int, place: int) -> tuple[SlabShape, tuple[SlabPart, ...]]:
        """Draw the item at a place of a step's batch: its view, and the slices that fill it, one after another."""
        shape = self.batch_shape(step)
        sampler = Sampler(stream_seed(self.seed, step * self.config.count + place, _ITEM))
        depth = shape.voxels(self.shape, self.config.thickness_voxels)[shape.axis]
        count = 1
        if not shape.full_view and sampler.flip(self.config.stack_probability):
            count = self.config.stack_slices
        depths = [depth // count + (part < depth % count) for part in range(count)]
        parts = tuple(self._sample_part(sampler, shape, share) for share in depths)
        return shape, tuple(part.filled() for part in parts) if count > 1 else parts

    def _sample_part(self, sampler: Sampler, shape: SlabShape, depth: int) -> SlabPart:
        index = self._views[shape.view].draw(sampler, self.config.lesion_free_acceptance)
        return SlabPart(index, depth, sample_slab(sampler, self.config, shape, depth, self.spacing_mm))

    def render(self, step: int, place: int) -> tuple[Tensor, Tensor]:
        """Make the item at a place of a step's batch.

        Returns:
            (x, y, z) float32, normalised as for prediction (each slice of a stack by itself), and the lesion,
            (x, y, z) bool.
        """
        shape, parts = self.sample(step, place)
        made = [self._render_part(shape, part) for part in parts]
        image, mask = (torch.cat([pair[kind] for pair in made], dim=shape.axis) for kind in (0, 1))
        return image, mask

    def _render_part(self, shape: SlabShape, part: SlabPart) -> tuple[Tensor, Tensor]:
        view = self._views[shape.view]
        x, y, z = (part.depth if axis == shape.axis else side for axis, side in enumerate(self.shape))
        return render_slab(
            view.images[part.index],
            view.lesions[part.index],
            part.parameters,
            shape,
            (x, y, z),
            self.spacing_mm,
        )


class _View:
    """Slices of one view, on the device."""

    def __init__(self, images: list[Tensor], lesions: list[Tensor], with_lesion: NDArray[np.bool_]) -> None:
        self.images, self.lesions, self.with_lesion = images, lesions, with_lesion

    @classmethod
    def of(cls, parts: list[RealSlices], view: View, config: SlabConfig, device: torch.device) -> _View:
        if not sum(len(part) for part in parts):
            raise DataError(
                f"expected prepared slices of the view {view!r}, found none; run `strokelabel prepare` with --slices, "
                "or leave the view out of slabs.views"
            )
        return cls(
            [image for part in parts for image in part.image.to(device)],
            [lesion for part in parts for lesion in part.lesion.to(device)],
            np.concatenate([part.lesion_mm2 for part in parts]) >= config.lesion_mm2,
        )

    def draw(self, sampler: Sampler, lesion_free_acceptance: float) -> int:
        """Return the index of a slice; those with a lesion are preferred."""
        for _ in range(_TRIES):
            index = sampler.integer(0, len(self.images) - 1)
            accepted = sampler.flip(lesion_free_acceptance)
            if self.with_lesion[index] or accepted:
                break
        return index
