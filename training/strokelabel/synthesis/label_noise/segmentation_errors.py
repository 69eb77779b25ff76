"""Errors of parcellations, in groups of structures: their settings, the draws of them, and the maps that they make.

A network that predicts how good a parcellation is learns from parcellations that are wrong in known ways: displaced
against the image, with borders that have moved or lost their detail, with a structure that is missing or taken for its
neighbour, everywhere or in a part of the head, with patches from elsewhere, and cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from strokelabel.structures import QUALITY_GROUPS
from strokelabel.synthesis.anatomy.deformation import (
    DeformationParameters,
    head_coordinates,
    sample_deformation,
    sample_volume,
)
from strokelabel.synthesis.config import DeformationConfig
from strokelabel.synthesis.config_sections import Range, Section
from strokelabel.synthesis.fields import apply_along_axes, evaluate_fields, gaussian_matrix
from strokelabel.synthesis.label_noise.errors import (
    JigsawParameters,
    LabelNoiseConfig,
    apply_jigsaw,
    sample_jigsaw,
)
from strokelabel.synthesis.sampling import Sampler, derived_sampler

CLASSES = 1 + len(QUALITY_GROUPS)
"""Background, and the groups of structures."""

_WHITE, _GRAY, _CSF, _CEREBELLUM, _BRAINSTEM, _THALAMUS, _PUTAMEN, _HIPPOCAMPUS = range(1, CLASSES)

NEIGHBOURS: dict[int, tuple[int, ...]] = {
    _WHITE: (_GRAY, _CSF),
    _GRAY: (_WHITE, _CSF),
    _CSF: (_GRAY, _WHITE),
    _CEREBELLUM: (_GRAY, _WHITE, _CSF),
    _BRAINSTEM: (_CEREBELLUM, _WHITE, _CSF),
    _THALAMUS: (_WHITE, _CSF, _GRAY),
    _PUTAMEN: (_WHITE, _GRAY, _THALAMUS),
    _HIPPOCAMPUS: (_GRAY, _WHITE, _CSF),
}
"""Groups that each group is mistaken for."""

_FLOOR = 1e-4
"""Added to shares before their logarithm; bounds how far a border moves."""


class SegmentationErrorConfig(Section):
    """Errors of parcellations. Ranges are those of the most severe ones; each map has a severity from 0 to 1."""

    variations: int = Field(4, ge=1)
    """Parcellations with different errors of each image in training; the image takes most of the time."""
    correct_probability: float = Field(0.08, ge=0, le=1)
    """Share of the parcellations without errors."""
    moved_probability: float = Field(0.5, ge=0, le=1)
    """Share of the others that are deformed against the image."""
    moved: DeformationConfig = DeformationConfig(
        rotation_degrees=(-25.0, 25.0),
        shear=(-0.05, 0.05),
        zoom=(0.75, 1.3),
        translation_mm=(-20.0, 20.0),
        elastic_fraction=(0.0, 0.1),
        flip_probability=(0.0, 0.0, 0.0),
    )
    """Deformation of the most severe of them."""
    border_probability: float = Field(0.6, ge=0, le=1)
    """Share in which borders have moved: groups have grown or shrunk, and lost detail."""
    border_fwhm_mm: Range = (4.0, 16.0)
    """Width of the kernel over which the groups compete; details below it are lost."""
    border_deviation: float = Field(4.0, ge=0)
    """Standard deviation of what is added to the logarithm of each group's share."""
    border_nodes: tuple[int, int] = (2, 7)
    """Nodes of a smooth field by which borders move differently in different places, along each axis."""
    border_field: float = Field(6.0, ge=0)
    """Greatest value of that field."""
    swapped_probability: float = Field(0.5, ge=0, le=1)
    """Share in which groups are missing, or taken for a neighbour."""
    swapped_count: tuple[int, int] = (1, 4)
    """Number of such errors."""
    dropped_probability: float = Field(0.4, ge=0, le=1)
    """Probability that such a group becomes background."""
    part_probability: float = Field(0.6, ge=0, le=1)
    """Probability that this happens on one side of a plane alone, rather than in the whole head."""
    plane_mm: Range = (-45.0, 45.0)
    """Distance of that plane from the middle of the image."""
    cut_probability: float = Field(0.12, ge=0, le=1)
    """Share of which a part is cut off by a plane."""
    jigsaw_probability: float = Field(0.25, ge=0, le=1)
    """Share in which cubes are replaced by others from elsewhere."""
    cubes: tuple[int, int] = (5, 1200)
    """Number of cubes."""
    half_side_voxels: tuple[int, int] = (1, 3)
    """Half the side of a cube, the voxel in its middle left out."""


@dataclass(frozen=True)
class Part:
    """Part of the head: one side of a plane.

    Attributes:
        normal: of the plane, x, y, z, of unit length; the part lies where it points to.
        offset_mm: distance of the plane from the middle of the image.
    """

    normal: tuple[float, float, float]
    offset_mm: float


@dataclass(frozen=True)
class Swap:
    """A group taken for another class.

    Attributes:
        group: class that is wrong, from 1.
        taken_for: class that it gets.
        part: where; None for everywhere.
    """

    group: int
    taken_for: int
    part: Part | None


@dataclass(frozen=True)
class BorderErrors:
    """Borders that have moved.

    Attributes:
        fwhm_mm: width of the kernel over which classes compete.
        nodes: (classes, kx, ky, kz) values, at nodes, of what is added to the logarithm of each class's share.
    """

    fwhm_mm: float
    nodes: Tensor


@dataclass(frozen=True)
class SegmentationErrors:
    """Errors of one parcellation, in the order in which they are made; None, or nothing, for those that are not."""

    seed: int
    severity: float
    moved: DeformationParameters | None = None
    borders: BorderErrors | None = None
    swaps: tuple[Swap, ...] = ()
    jigsaw: JigsawParameters | None = None
    cut: Part | None = None


def sample_errors(
    seed: int, config: SegmentationErrorConfig, shape: tuple[int, int, int], spacing_mm: float
) -> SegmentationErrors:
    """Draw the errors of one parcellation; the same seed gives the same errors.

    Args:
        seed: any number.
        config: how often which error occurs, and how severe it is at most.
        shape: voxels of the image.
        spacing_mm: voxel size of the image.
    """
    sampler = derived_sampler(seed, "segmentation errors")
    severity = sampler.uniform((0.0, 1.0))
    if sampler.flip(config.correct_probability):
        return SegmentationErrors(seed, 0.0)
    x, y, z = (n * spacing_mm for n in shape)
    # In a statement each, so that the order of the draws does not depend on that of the fields.
    moved = borders = jigsaw = cut = None
    swaps: tuple[Swap, ...] = ()
    if sampler.flip(config.moved_probability):
        moved = sample_deformation(sampler, _milder(config.moved, severity), (x, y, z))
    if sampler.flip(config.border_probability):
        borders = _sample_borders(sampler, config, severity)
    if sampler.flip(config.swapped_probability):
        swaps = tuple(_sample_swap(sampler, config) for _ in range(sampler.integer(*config.swapped_count)))
    if sampler.flip(config.jigsaw_probability):
        jigsaw = sample_jigsaw(sampler, _cubes(config, severity), shape)
    if sampler.flip(config.cut_probability):
        cut = _sample_part(sampler, config)
    return SegmentationErrors(seed, severity, moved, borders, swaps, jigsaw, cut)


def _milder(config: DeformationConfig, severity: float) -> DeformationConfig:
    """Return the settings of a deformation that is this severe, from 0 (none) to 1."""
    ranges = {}
    for name, middle in (
        ("rotation_degrees", 0.0),
        ("shear", 0.0),
        ("zoom", 1.0),
        ("translation_mm", 0.0),
        ("elastic_fraction", 0.0),
    ):
        low, high = getattr(config, name)
        ranges[name] = (middle + severity * (low - middle), middle + severity * (high - middle))
    return config.model_copy(update=ranges)


def _sample_borders(sampler: Sampler, config: SegmentationErrorConfig, severity: float) -> BorderErrors:
    low, high = config.border_fwhm_mm
    fwhm = sampler.uniform((low, low + severity * (high - low)))
    counts = [sampler.integer(*config.border_nodes) for _ in range(3)]
    everywhere = torch.randn(CLASSES, 1, 1, 1, generator=sampler.generator) * config.border_deviation
    field = sampler.uniform_tensor((CLASSES, *counts), -config.border_field, config.border_field)
    return BorderErrors(fwhm, severity * (everywhere + field))


def _sample_swap(sampler: Sampler, config: SegmentationErrorConfig) -> Swap:
    group = sampler.integer(1, CLASSES - 1)
    others = NEIGHBOURS[group]
    other = others[sampler.integer(0, len(others) - 1)]
    taken_for = 0 if sampler.flip(config.dropped_probability) else other
    return Swap(
        group, taken_for, _sample_part(sampler, config) if sampler.flip(config.part_probability) else None
    )


def _sample_part(sampler: Sampler, config: SegmentationErrorConfig) -> Part:
    direction = torch.randn(3, generator=sampler.generator)
    x, y, z = (direction / direction.norm().clamp_min(1e-6)).tolist()
    return Part((x, y, z), sampler.uniform(config.plane_mm))


def _cubes(config: SegmentationErrorConfig, severity: float) -> LabelNoiseConfig:
    low, high = config.cubes
    most = max(low, round(low + severity**2 * (high - low)))
    return LabelNoiseConfig(cubes=(low, most), half_side_voxels=config.half_side_voxels)


@torch.no_grad()
def apply_errors(classes: Tensor, errors: SegmentationErrors, spacing_mm: float) -> Tensor:
    """Return a parcellation with errors.

    Args:
        classes: (x, y, z) correct class of each voxel, 0 for the background.
        errors: see `sample_errors`.
        spacing_mm: voxel size.

    Returns:
        (x, y, z) int64.
    """
    classes = classes.long()
    if errors.moved is not None:
        classes = _moved(class_maps(classes), errors.moved, spacing_mm).argmax(dim=0)
    if errors.borders is not None:
        classes = _with_other_borders(class_maps(classes), errors.borders, spacing_mm)
    before = classes.clone()
    for swap in errors.swaps:
        wrong = before == swap.group
        if swap.part is not None:
            wrong &= _within(swap.part, before, spacing_mm)
        classes = classes.masked_fill(wrong, swap.taken_for)
    if errors.jigsaw is not None:
        classes = apply_jigsaw(classes[None], errors.jigsaw)[0]
    if errors.cut is not None:
        classes = classes.masked_fill(_within(errors.cut, classes, spacing_mm), 0)
    return classes


def class_maps(classes: Tensor) -> Tensor:
    """Return the map of each class (classes, x, y, z) float32, 1 in its voxels and 0 elsewhere."""
    return torch.stack([classes == number for number in range(CLASSES)]).float()


def _moved(maps: Tensor, deformation: DeformationParameters, spacing_mm: float) -> Tensor:
    """Return the shares of the classes, deformed about the middle of the image; background comes in from outside."""
    x, y, z = maps.shape[1:]
    coordinates = head_coordinates([deformation], torch.zeros(1, 3), (x, y, z), spacing_mm)
    matrix = torch.eye(3)[None] / spacing_mm
    offset = (torch.tensor([[x, y, z]]) - 1) / 2
    groups = sample_volume(maps[None, 1:], coordinates, matrix, offset)[0]
    return torch.cat([1 - groups.sum(dim=0, keepdim=True), groups])


def _with_other_borders(maps: Tensor, borders: BorderErrors, spacing_mm: float) -> Tensor:
    """Return the classes (x, y, z) that win where each has its share of the neighbourhood and an advantage."""
    x, y, z = maps.shape[1:]
    kernels = [gaussian_matrix(n, borders.fwhm_mm / spacing_mm, maps.device)[None] for n in (x, y, z)]
    shares = apply_along_axes(maps[:, None], kernels)[:, 0]
    advantage = evaluate_fields([borders.nodes], (x, y, z), maps.device)[0]
    return (torch.log(shares + _FLOOR) + advantage).argmax(dim=0)


def _within(part: Part, classes: Tensor, spacing_mm: float) -> Tensor:
    """Return the voxels (x, y, z) bool of a part of the head."""
    distance: Tensor | float = -part.offset_mm
    for axis, (size, slope) in enumerate(zip(classes.shape, part.normal, strict=True)):
        position = (torch.arange(size) - (size - 1) / 2) * spacing_mm
        distance = distance + slope * position.view([-1 if i == axis else 1 for i in range(3)])
    assert isinstance(distance, Tensor)
    return distance > 0
