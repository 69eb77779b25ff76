"""Slabs: a real slice, turned and recoloured, repeated along the third axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.fit.data.annotated_scans.stream import as_partial_batch
from strokelabel.fit.data.real_images.appearance import (
    Appearance,
    add_noise,
    expose,
    recolour,
    sample_appearance,
)
from strokelabel.fit.data.real_images.config import SlabConfig
from strokelabel.fit.data.real_images.slices import PIXEL_MM, RealSlices
from strokelabel.fit.data.stream import Batch
from strokelabel.fit.data.synthetic_streams import stream_seed
from strokelabel.io.slice_files import PLANES, View
from strokelabel.networks.normalization import normalize
from strokelabel.synthesis.config_sections import Range
from strokelabel.synthesis.sampling import Sampler, on_device

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class SlabShape:
    """View and extent, which the slabs of a batch have in common.

    Attributes:
        view: plane of the slices.
        full_view: whether the third axis has the full field of view, of which a part is filled.
    """

    view: View
    full_view: bool

    @property
    def axis(self) -> int:
        """Third axis, along which slices are repeated."""
        rows, columns = PLANES[self.view]
        return 3 - rows - columns

    def voxels(self, shape: Triple, thickness: int) -> Triple:
        """Return the voxels (x, y, z) of a slab.

        Args:
            shape: of a whole volume.
            thickness: of a slab without the full view.
        """
        x, y, z = (
            thickness if axis == self.axis and not self.full_view else n for axis, n in enumerate(shape)
        )
        return x, y, z


@dataclass(frozen=True)
class SlabParameters:
    """Parameters of one slab of a slice.

    Attributes:
        rotation_degrees: in the plane.
        zoom: along rows and columns.
        mirror: whether left and right change places.
        translation_mm: along rows and columns.
        first: first filled voxel along the third axis.
        filled: how many.
        appearance: changes of intensities.
    """

    rotation_degrees: float
    zoom: tuple[float, float]
    mirror: bool
    translation_mm: tuple[float, float]
    first: int
    filled: int
    appearance: Appearance


def sample_shape(sampler: Sampler, config: SlabConfig) -> SlabShape:
    """Draw the view of a batch."""
    views = list(config.views)
    view = views[sampler.choice([config.views[name] for name in views])]
    return SlabShape(view, sampler.flip(config.full_view_probability))


def sample_slab(
    sampler: Sampler, config: SlabConfig, shape: SlabShape, depth: int, spacing_mm: float
) -> SlabParameters:
    """Draw a slab.

    Args:
        sampler: source of randomness.
        config: ranges.
        shape: of the batch.
        depth: voxels along the third axis.
        spacing_mm: of these.
    """
    zoom = sampler.uniform(config.zoom)
    uneven = sampler.flip(config.anisotropy_probability)
    filled = depth
    if shape.full_view:
        filled = round(sampler.uniform(config.full_view_mm) / spacing_mm)
    elif sampler.flip(config.partial_depth_probability):
        filled = sampler.integer(*config.partial_depth_voxels)
    filled = min(max(filled, 1), depth)
    return SlabParameters(
        rotation_degrees=sampler.uniform(config.rotation_degrees),
        zoom=(
            zoom * _factor(sampler, config.anisotropy, uneven),
            zoom * _factor(sampler, config.anisotropy, uneven),
        ),
        mirror=shape.view != "sagittal" and sampler.flip(config.mirror_probability),
        translation_mm=(sampler.uniform(config.translation_mm), sampler.uniform(config.translation_mm)),
        first=sampler.integer(0, depth - filled),
        filled=filled,
        appearance=sample_appearance(sampler, config.appearance, axes=2),
    )


def _factor(sampler: Sampler, bounds: Range, wanted: bool) -> float:
    drawn = sampler.uniform(bounds)
    return drawn if wanted else 1.0


def render_slab(
    image: Tensor,
    lesion: Tensor,
    parameters: SlabParameters,
    shape: SlabShape,
    voxels: Triple,
    spacing_mm: float,
) -> tuple[Tensor, Tensor]:
    """Make a slab of a slice.

    Args:
        image: (rows, columns) uint8, pixels of `PIXEL_MM`.
        lesion: (rows, columns) bool.
        parameters: see `sample_slab`.
        shape: of the batch.
        voxels: (x, y, z) of the slab.
        spacing_mm: of its voxels.

    Returns:
        (x, y, z) float32, normalised as for prediction, and (x, y, z) bool.
    """
    known = lesion.float()
    plane = recolour(image.float() / 255, known, parameters.appearance.recolouring)
    rows, columns = PLANES[shape.view]
    grid = _sampling_grid(parameters, image.shape, (voxels[rows], voxels[columns]), spacing_mm, image.device)
    plane, known = F.grid_sample(torch.stack([plane, known])[None], grid, align_corners=True)[0]
    plane = expose(plane, parameters.appearance)
    filled = _filled(parameters, voxels[shape.axis], image.device).view(
        [-1 if axis == shape.axis else 1 for axis in range(3)]
    )
    volume = add_noise(plane.unsqueeze(shape.axis) * filled, parameters.appearance)
    mask = (known > 0.5).unsqueeze(shape.axis) & filled
    return normalize(volume[None, None])[0, 0], mask


def _filled(parameters: SlabParameters, depth: int, device: torch.device) -> Tensor:
    """Return the planes that are filled, (depth,) bool."""
    places = torch.arange(depth, device=device)
    return (places >= parameters.first) & (places < parameters.first + parameters.filled)


def _sampling_grid(
    parameters: SlabParameters,
    source: tuple[int, ...],
    target: tuple[int, int],
    spacing_mm: float,
    device: torch.device,
) -> Tensor:
    """Return the source position of each pixel of the turned slice, for `grid_sample`: (1, rows, columns, 2)."""
    angle = math.radians(parameters.rotation_degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    zoom = torch.diag(1 / torch.tensor(parameters.zoom))
    mirror = torch.diag(torch.tensor([-1.0 if parameters.mirror else 1.0, 1.0]))
    to_unit = torch.tensor([2 / ((n - 1) * PIXEL_MM) for n in source])
    extent_mm = torch.tensor([(n - 1) * spacing_mm / 2 for n in target])
    matrix = to_unit[:, None] * (mirror @ turn @ zoom) * extent_mm
    offset = to_unit * torch.tensor(parameters.translation_mm)
    # `affine_grid` counts axes from the last one.
    theta = torch.cat([matrix.flip(0).flip(1), offset.flip(0)[:, None]], dim=1)
    return F.affine_grid(on_device(theta, device)[None], [1, 1, *target], align_corners=True)


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
