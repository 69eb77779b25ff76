"""Where the quantitative maps of a qATLAS recipe come from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class MapsConfig(BaseModel):
    """Heads whose contrast comes from quantitative volumes.

    Attributes:
        folder: of maps, written by `strokelabel estimate` or measured; None for maps simulated from the prepared label
            maps, which stand in where there are no scans.
        simulated_per_brain: simulated subjects for each label map of the training part.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str | None = None
    simulated_per_brain: int = Field(default=4, ge=1)
