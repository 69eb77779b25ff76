"""Slabs: a real slice, turned and recoloured, repeated along the third axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from strokelabel.fit.data.real_images.appearance import Appearance, add_noise, expose, sample_appearance
from strokelabel.fit.data.real_images.config import SlabConfig
from strokelabel.fit.data.real_images.recolouring import recolour
from strokelabel.fit.data.real_images.slices import PIXEL_MM
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
