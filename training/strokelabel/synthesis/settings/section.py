"""Rules of all groups of settings: unknown keys are errors, ranges ascend, frequencies can be drawn with."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

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
