"""Windows of the box that a network is shown, for where memory does not allow the whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from strokelabel.inference.engine import window_shape

Corner = tuple[int, int, int]
"""First voxel of a window in the shown box."""


def window(corner: Corner, shape: Sequence[int]) -> tuple[slice, slice, slice]:
    """Return the voxels (x, y, z) of a window of a shape that begins at a corner."""
    x, y, z = (slice(first, first + side) for first, side in zip(corner, shape, strict=True))
    return x, y, z


class WindowSampler:
    """Source of windows about random voxels of the brain.

    A window's own statistics take the place of the whole box's in instance normalisation, which is why windows are as
    large as memory allows: as a rule, the whole box.

    Args:
        probabilities: (classes, x, y, z) plain output in the shown box; windows are about what is not background.
        multiple: divisor of the sides of what the network takes.
        alignment: corners are multiples of this.
        max_voxels: of a window.
        seed: decides the windows.

    Attributes:
        shape: of every window.
    """

    def __init__(
        self, probabilities: Tensor, multiple: int, alignment: int, max_voxels: int, seed: int
    ) -> None:
        x, y, z = probabilities.shape[1:]
        self._box = (x, y, z)
        self.shape = window_shape(self._box, multiple, max_voxels)
        self._alignment = alignment
        brain = probabilities.argmax(dim=0) > 0
        self._voxels = (brain if bool(brain.any()) else torch.ones_like(brain)).nonzero()
        self._generator = torch.Generator().manual_seed(seed)

    def corner(self) -> Corner:
        """Return the first voxel of the next window, which lies within the box."""
        chosen = torch.randint(len(self._voxels), (), generator=self._generator)
        middle = self._voxels[chosen].tolist()
        return corner_about(middle, self.shape, self._box, self._alignment)


def corner_about(
    middle: Sequence[int], shape: Sequence[int], box: Sequence[int], alignment: int = 1
) -> Corner:
    """Return the first voxel of a window about a voxel, moved so that it lies within the box.

    Args:
        middle: the voxel.
        shape: of the window.
        box: sides of the box, none shorter than the window's.
        alignment: corners are multiples of this.
    """
    x, y, z = (
        min(max(0, voxel - side // 2), size - side) // alignment * alignment
        for voxel, side, size in zip(middle, shape, box, strict=True)
    )
    return x, y, z
