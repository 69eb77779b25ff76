"""Canvases: pictures that are put together from sections of ICBM space, and the way back from pixels to voxels.

Where there is no scan of a patient, the lesion is painted onto the ICBM template: brain in gray, lesion white.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from strokelabel.errors import OptionError
from strokelabel.synthesis.prepared.icbm import icbm_template

BRAIN_GRAY: Final = 0.6
"""Intensity of the template's brightest voxel; lesion has 1, so that it stands out from white matter too."""

Voxel = tuple[int, int, int]


@dataclass(frozen=True)
class Tile:
    """A slab of the ICBM 1 mm grid, averaged from bottom to top, as a part of a canvas.

    Front is up, and the patient's left is on the left of the picture.

    Attributes:
        low, high: first voxel (x, y, z), and the one after the last; x and y extents are multiples of `mm`.
        row, column: of the tile's upper left pixel.
        mm: side of a pixel.
    """

    low: Voxel
    high: Voxel
    row: int
    column: int
    mm: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of pixels."""
        return (self.high[1] - self.low[1]) // self.mm, (self.high[0] - self.low[0]) // self.mm

    @property
    def pixel_voxels(self) -> int:
        """Voxels that a pixel is the mean of."""
        return self.mm**2 * (self.high[2] - self.low[2])


@dataclass(frozen=True, eq=False)
class Canvas:
    """A picture of tiles.

    Attributes:
        tiles: its parts.
        shape: rows and columns.
    """

    tiles: tuple[Tile, ...]
    shape: tuple[int, int]

    @cached_property
    def template(self) -> NDArray[np.float32]:
        """Picture of the template without a lesion, (rows, columns)."""
        return self._project((0, 0, 0), BRAIN_GRAY * icbm_template().image)

    def paint(self, offset: Voxel, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the picture of a lesion on the template, (rows, columns), 0 to 1.

        Args:
            offset: index on the ICBM grid of the first voxel of `mask`.
            mask: (x, y, z), inside the grid.
        """
        x, y, z = (slice(start, start + size) for start, size in zip(offset, mask.shape, strict=True))
        added = np.where(mask, 1 - BRAIN_GRAY * icbm_template().image[x, y, z], np.float32(0))
        return self.template + self._project(offset, added)

    def to_icbm(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return a value for each voxel of the ICBM grid, (x, y, z): the mean of the pixels that show it, or zero.

        Args:
            values: (rows, columns).
        """
        total = np.zeros(icbm_template().shape, dtype=np.float32)
        count = np.zeros(icbm_template().shape, dtype=np.uint8)
        for tile in self.tiles:
            rows, columns = tile.shape
            part = values[tile.row : tile.row + rows, tile.column : tile.column + columns][::-1].T
            large = part.repeat(tile.mm, axis=0).repeat(tile.mm, axis=1)[..., None]
            x, y, z = (slice(low, high) for low, high in zip(tile.low, tile.high, strict=True))
            total[x, y, z] += large
            count[x, y, z] += 1
        return total / np.maximum(count, 1)

    def _project(self, offset: Voxel, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the picture of a box of voxel values."""
        picture = np.zeros(self.shape, dtype=np.float64)
        end = np.add(offset, values.shape)
        for tile in self.tiles:
            low, high = np.maximum(tile.low, offset), np.minimum(tile.high, end)
            if (high <= low).any():
                continue
            x, y, z = (
                slice(a - o, b - o) for a, b, o in zip(low.tolist(), high.tolist(), offset, strict=True)
            )
            columns = tile.column + (np.arange(low[0], high[0]) - tile.low[0]) // tile.mm
            rows = tile.row + tile.shape[0] - 1 - (np.arange(low[1], high[1]) - tile.low[1]) // tile.mm
            sums = values[x, y, z].sum(axis=2) / tile.pixel_voxels
            np.add.at(picture, (rows[None, :], columns[:, None]), sums)
        return picture.astype(np.float32)


def stitched_canvas(mm: int = 9, sections: int = 64, across: int = 8) -> Canvas:
    """Return a canvas of axial sections side by side, the lowest first (Roohani et al. 2018, White et al. 2024).

    Args:
        mm: side of a pixel.
        sections: that the brain is cut into from bottom to top.
        across: in a row of the canvas.

    Raises:
        OptionError: the sections do not fill their rows.
    """
    if sections % across:
        raise OptionError(f"expected a multiple of {across} sections, got {sections}")
    low, high = brain_box(mm)
    heights = np.linspace(low[2], high[2], sections + 1).round().astype(int).tolist()
    rows, columns = (high[1] - low[1]) // mm, (high[0] - low[0]) // mm
    tiles = tuple(
        Tile(
            (low[0], low[1], heights[index]), (high[0], high[1], heights[index + 1]),
            index // across * rows, index % across * columns, mm,
        )
        for index in range(sections)
    )  # fmt: skip
    return Canvas(tiles, (sections // across * rows, across * columns))


def volume_canvas(mm: int = 8) -> tuple[Canvas, tuple[int, int, int]]:
    """Return a canvas of cells, one section below the other, and its shape (z, y, x) as a volume."""
    low, high = brain_box(mm)
    rows, columns = (high[1] - low[1]) // mm, (high[0] - low[0]) // mm
    bottoms = range(low[2], high[2], mm)
    top = icbm_template().shape[2]
    tiles = tuple(
        Tile((low[0], low[1], z), (high[0], high[1], min(z + mm, top)), index * rows, 0, mm)
        for index, z in enumerate(bottoms)
    )
    return Canvas(tiles, (len(bottoms) * rows, columns)), (len(bottoms), rows, columns)


def brain_box(mm: int) -> tuple[Voxel, Voxel]:
    """Return the box of the template's brain, its sides from left to right and back to front multiples of `mm`.

    What is left over, less than half a pixel on each side, is cut off or added.
    """
    where = np.argwhere(icbm_template().brain)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    sides = ((high - low) / mm).round().astype(int) * mm
    start = (low + high - sides) // 2
    x, y = start[:2].tolist()
    return (x, y, int(low[2])), (x + int(sides[0]), y + int(sides[1]), int(high[2]))


def pack(sizes: Sequence[tuple[int, int]], width: int, gap: int = 1) -> tuple[list[tuple[int, int]], int]:
    """Pack rectangles into rows of a canvas, the tallest first.

    Args:
        sizes: rows and columns of each.
        width: columns of the canvas.
        gap: empty pixels between them.

    Returns:
        The upper left pixel (row, column) of each, in their order, and the rows that are used.

    Raises:
        OptionError: one is wider than the canvas.
    """
    if max(columns for _, columns in sizes) > width:
        raise OptionError(f"expected rectangles of {width} columns at most, got {sizes}")
    places = [(0, 0)] * len(sizes)
    row = column = height = 0
    for index in sorted(range(len(sizes)), key=lambda one: (-sizes[one][0], one)):
        rows, columns = sizes[index]
        if column + columns > width:
            row, column, height = row + height + gap, 0, 0
        places[index] = (row, column)
        column, height = column + columns + gap, max(height, rows)
    return places, row + height
