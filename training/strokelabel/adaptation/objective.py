"""Aim of an adaptation: a number that is lowered, from the output of the model alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

Corner = tuple[int, int, int]
"""First voxel of a window in the shown box."""


def window(corner: Corner, shape: Sequence[int]) -> tuple[slice, slice, slice]:
    """Return the voxels (x, y, z) of a window of a shape that begins at a corner."""
    x, y, z = (slice(first, first + side) for first, side in zip(corner, shape, strict=True))
    return x, y, z


class AdaptationObjective(Protocol):
    """Number that is lowered, window by window, and judged on the whole box.

    Attributes:
        name: of what is lowered, for messages.
        alignment: corners of windows are multiples of this.
    """

    name: str
    alignment: int

    def renew(self, probabilities: Tensor) -> None:
        """Make the target from the present output for the whole box, (classes, x, y, z).

        Called every `REFRESH_EVERY` iterations, but not for an objective without `needs_output`.
        """
        ...

    @property
    def needs_output(self) -> bool:
        """True if `renew` is to be called at all."""
        ...

    def loss(self, probabilities: Tensor, corner: Corner) -> Tensor:
        """Return the loss (a scalar, differentiable) of the output in a window.

        Args:
            probabilities: (1, classes, x, y, z) float32.
            corner: of the window.
        """
        ...

    def value(self, probabilities: Tensor) -> float:
        """Return the number to be lowered for the output in the whole box, (classes, x, y, z)."""
        ...
