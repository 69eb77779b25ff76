"""Settings of the coil and of how much of the head a scan covers."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from strokelabel.synthesis.settings.section import Range, Section, some_weight


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
