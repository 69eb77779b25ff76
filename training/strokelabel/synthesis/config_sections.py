"""Groups of settings that `synthesis.config` is put together from, and the rules that all groups share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Range = tuple[float, float]
"""(low, high) of a uniform distribution."""


def some_weight(weights: dict[Any, float]) -> dict[Any, float]:
    """Refuse relative frequencies that nothing can be drawn with."""
    if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise ValueError(f"expected frequencies of at least 0, one of them above 0, got {weights}")
    return weights


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, so that a typing slip cannot pass unnoticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Section:
        for name, value in self:
            if (
                isinstance(value, tuple)
                and len(value) == 2
                and all(isinstance(v, int | float) for v in value)
                and value[0] > value[1]
            ):
                raise ValueError(f"{name}: expected (low, high) with low <= high, got {value}")
        return self


def _some_share(weights: tuple[float, float, float]) -> tuple[float, float, float]:
    """Refuse relative frequencies of the three axes that nothing can be drawn with."""
    some_weight(dict(enumerate(weights)))
    return weights


class CoilConfig(Section):
    """Surface coils: what lies near the surface is brighter, unevenly."""

    probability: float = Field(0.0, ge=0, le=1)
    strength: Range = (0.3, 2.0)
    """Gain, minus one, of a point with nothing but air around; a flat surface has half of it."""
    inverted_probability: float = Field(0.2, ge=0, le=1)
    """Probability that the surface is darker instead, with half the strength, as after too much correction."""
    depth_mm: Range = (17.0, 31.0)
    """Width (FWHM) of the neighbourhood whose share of air says how near the surface is."""


class CoverageConfig(Section):
    """Scans of part of the head: a stack of slices with nothing above and below, in image and target."""

    probability: float = Field(0.0, ge=0, le=1)
    thickness_mm: Range = (25.0, 80.0)
    """Extent of the stack."""
    offset_mm: Range = (-40.0, 40.0)
    """From the middle of the field of view to that of the stack."""
    axis_weights: Annotated[tuple[float, float, float], AfterValidator(_some_share)] = (0.15, 0.25, 0.6)
    """Relative frequencies of stacks along x, y and z; thick slices are stacked along their own axis."""


class StructureConfig(Section):
    """Structures with means of their own between gray and white matter, in the clinical families."""

    probability: float = Field(0.0, ge=0, le=1)
    """Probability that thalamus, pallidum, brainstem and others have one; see `tissue.structures.TOWARDS_OTHER`."""
    deviation: Range = (0.0, 0.06)
    """Standard deviation of what is added to each such mean; one for all structures of a head."""


class SurroundingsConfig(Section):
    """Surroundings of the brain, in the clinical families: less alike from head to head than the brain is."""

    probability: float = Field(0.0, ge=0, le=1)
    """Share of heads whose surroundings vary."""
    any_probability: float = Field(0.35, ge=0, le=1)
    """Probability that a structure then has any intensity at all."""
    any_mean: Range = (0.0, 1.1)
    """Range of such intensities."""
    deviation: float = Field(0.12, ge=0)
    """Standard deviation of what is added to the other structures' means."""


class PocketConfig(Section):
    """Pockets of air, fat and mucosa in the head outside the brain, which label maps do not have."""

    probability: float = Field(0.0, ge=0, le=1)
    """Share of heads with pockets, of two kinds at once."""
    air_probability: float = Field(0.8, ge=0, le=1)
    """Probability that the first kind is air; else both are as bright as fat or mucosa may be."""
    spacing_mm: Range = (6.0, 24.0)
    """Scale of the noise whose peaks are pockets."""
    level: Range = (0.5, 1.2)
    """From how many standard deviations of that noise on there is a pocket."""
    mean: Range = (0.0, 1.1)
    """Intensity of fat and mucosa."""
