"""Settings of real images in training: the sections `slabs` and `scans` of a recipe.

Ranges are (low, high) of a uniform distribution. The numbers are those with which the weights of version 0.3.0 were
trained; they come from looking at samples, not from an ablation.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

from strokelabel.io.slice_files import View
from strokelabel.synthesis.config_sections import Range, Section, some_weight

RecolouringKind: TypeAlias = Literal["none", "gamma", "sorted", "inverted", "any"]
"""Curve that maps old intensities to new ones: a power, or a polygon that rises, falls, or goes up and down."""


class RecolouringConfig(Section):
    """New intensities for a real image: anatomy and texture stay, the contrast is another."""

    kinds: Annotated[dict[RecolouringKind, float], AfterValidator(some_weight)]
    """Relative frequencies."""
    gamma_log_deviation: float = Field(0.25, ge=0)
    """Standard deviation of the natural logarithm of gamma."""
    knots: tuple[int, int] = (4, 8)
    """Corners of the polygon; at quantiles of the image in half of the cases, so that tissues are distinguished."""
    texture: Range = (0.0, 1.0)
    """Factor on what the curve leaves out, the image minus its local mean; its sign is random."""
    lesion_probability: float = Field(0.3, ge=0, le=1)
    """Probability that a known lesion gets a mean of its own; with a curve of the kind "any", always."""
    lesion_contrast: Range = (0.12, 0.6)
    """Distance of that mean from the brain's, either way, where 1 is the brightest tissue."""


class AppearanceConfig(Section):
    """Changes of the intensities of a real image after its geometry."""

    recolouring: RecolouringConfig
    coil_probability: float = Field(0.4, ge=0, le=1)
    """Probability that a surface coil brightens, or shades, what lies near the surface."""
    coil_strength: Range = (0.3, 2.0)
    """Greatest gain minus one; a fifth of the coils shade, by half of it."""
    field_deviation: float = Field(0.2, ge=0)
    """Standard deviation of the logarithm of the smooth field, at 2 to 4 control points per axis."""
    blur_probability: float = Field(0.0, ge=0, le=1)
    """Probability that the image is averaged over 3 voxels along each axis."""
    noise_deviation: Range = (0.0, 0.03)
    """Of Gaussian noise inside the head, where 1 is the brightest voxel."""


class SlabConfig(Section):
    """Real slices, each repeated along the third axis.

    Attributes:
        count: slabs in a batch, all of one view.
        weight: of the slabs' loss in an optimiser step, beside 1 for the volumes.
        thickness_voxels: of a slab, a multiple of the network's. Three voxels at the network's deepest level (48,
            where it halves its grid four times): with one or two, bfloat16 convolutions of oneDNN return garbage now
            and then.
        views: relative frequencies.
        lesion_free_acceptance: how often a slice with less than `lesion_mm2` of lesion is taken when it is drawn;
            otherwise another is drawn, up to three in all.
        lesion_mm2: area from which on a slice counts as one with a lesion.
        rotation_degrees, zoom, translation_mm: in the plane.
        anisotropy: further factors along both axes, with `anisotropy_probability`.
        mirror_probability: of left and right, where the view shows both.
        partial_depth_probability: how often only `partial_depth_voxels` of the thickness are filled.
        full_view_probability: how often a batch has the full field of view along the third axis, of which
            `full_view_mm` are filled: a stack that covers a part of the brain, with air above and below.
        stack_probability: how often a slab is a stack of several slices, each repeated over its share of the
            thickness: more patients in as many voxels.
        stack_slices: how many.
        appearance: changes of intensities.
    """

    count: int = Field(3, ge=1)
    weight: float = Field(0.6, gt=0)
    thickness_voxels: int = Field(48, ge=1)
    views: Annotated[dict[View, float], AfterValidator(some_weight)] = Field(
        default={"axial": 0.55, "coronal": 0.27, "sagittal": 0.18}
    )
    lesion_free_acceptance: float = Field(0.3, ge=0, le=1)
    lesion_mm2: float = Field(45.0, gt=0)
    rotation_degrees: Range = (-15.0, 15.0)
    zoom: Range = (0.88, 1.14)
    translation_mm: Range = (-8.0, 8.0)
    anisotropy_probability: float = Field(0.3, ge=0, le=1)
    anisotropy: Range = (0.92, 1.08)
    mirror_probability: float = Field(0.5, ge=0, le=1)
    partial_depth_probability: float = Field(0.3, ge=0, le=1)
    partial_depth_voxels: tuple[int, int] = (3, 16)
    full_view_probability: float = Field(0.1, ge=0, le=1)
    full_view_mm: Range = (10.0, 60.0)
    stack_probability: float = Field(0.0, ge=0, le=1)
    stack_slices: int = Field(3, ge=2)
    appearance: AppearanceConfig = AppearanceConfig(
        recolouring=RecolouringConfig(kinds={"gamma": 0.3, "sorted": 0.25, "inverted": 0.2, "any": 0.25}),
        blur_probability=0.25,
        noise_deviation=(0.0, 0.04),
    )


class PaintingConfig(Section):
    """Lesions of the bank, painted into scans that have none."""

    probability: float = Field(0.6, ge=0, le=1)
    count_weights: Annotated[dict[int, float], AfterValidator(some_weight)] = Field(
        default={1: 0.6, 2: 0.25, 3: 0.15}
    )
    """Relative frequency of 1, 2, ... lesions in a scan that has any."""
    preferred_ml: float = Field(8.0, gt=0)
    """A mask of v ml is accepted with the probability (preferred_ml / v) ** 0.35, up to 1; otherwise another is drawn,
    up to four in all."""
    mirror_probability: float = Field(0.5, ge=0, le=1)
    shift_mm: Range = (-6.0, 6.0)
    softening_probability: float = Field(0.6, ge=0, le=1)
    """Probability that the mask's edge is averaged over 3 voxels."""
    contrast: Range = (0.7, 3.5)
    """Distance of the lesion's mean from the brain's, either way, in standard deviations of the brain."""
    texture: Range = (0.1, 0.7)
    """Share of the original intensity that shows through."""
    opacity: Range = (0.6, 1.0)


class PaintedScanConfig(Section):
    """Real scans that show no stroke, or whose lesion is known.

    Attributes:
        count: scans in a batch, beside its synthetic volumes.
        strip_probability: how often everything but the brain is removed.
        painting: of lesions into scans that have none.
        appearance: changes of intensities.
    """

    count: int = Field(1, ge=1)
    strip_probability: float = Field(0.5, ge=0, le=1)
    painting: PaintingConfig = PaintingConfig()
    appearance: AppearanceConfig = AppearanceConfig(
        recolouring=RecolouringConfig(
            kinds={"none": 0.2, "gamma": 0.49, "sorted": 0.11, "inverted": 0.09, "any": 0.11}
        )
    )
