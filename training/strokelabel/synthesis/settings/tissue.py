"""Settings of tissues that are less alike from head to head than a mean per tissue group makes them."""

from __future__ import annotations

from pydantic import Field

from strokelabel.synthesis.settings.section import Range, Section


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
