"""Options of the changes that prompts make to a mask."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite

from strokelabel.errors import OptionError


@dataclass(frozen=True)
class RefineOptions:
    """Limits of what one prompt may change.

    Attributes:
        reach_mm: nothing further than this from a click or stroke changes.
        island_reach_mm: a click that misses an island still removes the nearest one this close.
        region_threshold: "add this region" takes the voxels around the click of at least this probability.
        region_reach_mm: an added region ends this far from its click.
        region_volume_ml: an added region is no larger than this.
        max_voxels: the neighbourhood of a prompt is coarsened to at most this many voxels to be computed in.

    Raises:
        OptionError: a value that is not a positive number, or a threshold of 1 or more.
    """

    reach_mm: float = 40.0
    island_reach_mm: float = 3.0
    region_threshold: float = 0.1
    region_reach_mm: float = 30.0
    region_volume_ml: float = 50.0
    max_voxels: int = 120_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isfinite(value) and value > 0):
                raise OptionError(f"Expected {field.name} above zero, got {value}.")
        if self.region_threshold >= 1:
            raise OptionError(
                f"Expected a region_threshold between 0 and 1, got {self.region_threshold}; 0.1 is usual."
            )
