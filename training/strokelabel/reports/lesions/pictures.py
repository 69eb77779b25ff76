"""Pictures of a lesion on its scan: axial slices, three views through the largest lesion, and its probability.

All are drawn as a radiologist sees them: front at the top, the patient's left on the right of axial and coronal slices.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import cc3d
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from strokelabel.geometry import CanonicalGrid
from strokelabel.io import Image
from strokelabel.types import LabelVolume, Volume

SPACING_MM: Final = 1.0
SCALE: Final = 2
"""Pixels per mm; outlines are 1 mm thick."""

ROWS, COLUMNS = 3, 6
"""Of the axial slices."""

THUMBNAIL: Final = 96
"""Pixels, of the longer side."""

_OUTLINE = (255, 176, 0)
_HEAT = np.array([[40, 20, 120], [150, 40, 130], [230, 80, 60], [255, 180, 40], [255, 255, 170]], np.float32)
"""Colours of the probabilities 0, 1/4, 1/2, 3/4 and 1: darker to brighter, also for the colour-blind."""
_LEAST_SHOWN = 0.05
_MARGIN_MM = 5
_QUALITY = 72

Box = tuple[slice, slice, slice]
Rgb = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class LesionPictures:
    """WebP files.

    Attributes:
        slices: axial slices with the outline of the lesion.
        views: an axial, a coronal and a sagittal slice through the middle of the largest lesion.
        probability: the same slices with the lesion's probability.
        thumbnail: the axial one, small.
    """

    slices: bytes
    views: bytes
    probability: bytes
    thumbnail: bytes


def draw_lesion(image: Image, lesion: LabelVolume, probability: Volume) -> LesionPictures:
    """Draw a scan with its lesion.

    Args:
        image: the scan, axes i, j, k.
        lesion: mask (i, j, k).
        probability: of the lesion (i, j, k), 0 to 1.
    """
    grid = CanonicalGrid.for_image(image.grid.shape, image.affine, SPACING_MM)
    gray = grid.forward(image.data)
    mask = grid.forward_labels((lesion > 0).astype(np.uint8)) > 0
    box = _head_box(gray, mask)
    gray, mask, heat = _windowed(gray[box]), mask[box], grid.forward(probability)[box]
    point = _middle_of_largest(mask)
    levels = axial_levels(mask, ROWS * COLUMNS)
    outlined = [_axial(_with_outline, gray, mask, level) for level in levels]
    views = [draw(_with_outline, gray, mask, at) for draw, at in zip(_VIEWS, point[::-1], strict=True)]
    heats = [draw(_with_heat, gray, heat, at) for draw, at in zip(_VIEWS, point[::-1], strict=True)]
    small = Picture.fromarray(_axial(_with_outline, gray, mask, point[2]))
    small.thumbnail((THUMBNAIL, THUMBNAIL), Picture.Resampling.LANCZOS)
    sides = ("R", "L"), ("R", "L"), ("A", "P")
    return LesionPictures(
        slices=_webp(_tiled(outlined, COLUMNS, [("R", "L")] + [("", "")] * (len(levels) - 1))),
        views=_webp(_tiled(views, 3, sides)),
        probability=_webp(_tiled(heats, 3, sides)),
        thumbnail=_webp(small),
    )


def axial_levels(mask: NDArray[np.bool_], count: int) -> list[int]:
    """Return axial slices that show a lesion: evenly over its extent, or about it where it has fewer slices.

    Args:
        mask: (x, y, z); without a lesion the slices are spread over the volume, its ends left out.
        count: number of slices, at most those of the volume.

    Returns:
        Slices from the bottom to the top.
    """
    depth = mask.shape[2]
    count = min(count, depth)
    filled = np.flatnonzero(mask.any(axis=(0, 1)))
    if not filled.size:
        return [int(level) for level in np.linspace(0.12 * (depth - 1), 0.92 * (depth - 1), count).round()]
    first, last = int(filled[0]), int(filled[-1])
    missing = max(0, count - (last - first + 1))
    first = min(max(0, first - missing // 2), depth - count)
    last = min(depth - 1, max(last + missing - missing // 2, first + count - 1))
    return [int(level) for level in np.linspace(first, last, count).round()]


def _head_box(gray: Volume, mask: NDArray[np.bool_]) -> Box:
    """Return the box of what is brighter than air, and of the lesion, with a margin."""
    bright = (gray > 0.1 * float(np.percentile(gray, 99))) | mask
    spans = ndimage.find_objects(bright.astype(np.uint8))
    if not spans or spans[0] is None:
        return (slice(None), slice(None), slice(None))
    x, y, z = (
        slice(max(0, one.start - _MARGIN_MM), min(size, one.stop + _MARGIN_MM))
        for one, size in zip(spans[0], gray.shape, strict=True)
    )
    return x, y, z


def _windowed(gray: Volume) -> Rgb:
    """Return gray values from 0 to 255, the darkest and brightest half per cent cut off."""
    low, high = (float(value) for value in np.percentile(gray, [0.5, 99.5]))
    return np.clip(255 * (gray - low) / max(high - low, 1e-6), 0, 255).astype(np.uint8)


def _middle_of_largest(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return a voxel of the largest lesion near its middle; the middle of the volume without one."""
    if not mask.any():
        x, y, z = (size // 2 for size in mask.shape)
        return x, y, z
    parts = cc3d.connected_components(mask, connectivity=26)
    points = np.argwhere(parts == 1 + np.bincount(parts[parts > 0])[1:].argmax())
    x, y, z = points[((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return int(x), int(y), int(z)


Paint = Callable[[Rgb, NDArray[np.generic]], Rgb]


def _axial(paint: Paint, gray: Rgb, over: NDArray[np.generic], level: int) -> Rgb:
    return paint(gray[::-1, ::-1, level].T, over[::-1, ::-1, level].T)


def _coronal(paint: Paint, gray: Rgb, over: NDArray[np.generic], level: int) -> Rgb:
    return paint(gray[::-1, level, ::-1].T, over[::-1, level, ::-1].T)


def _sagittal(paint: Paint, gray: Rgb, over: NDArray[np.generic], level: int) -> Rgb:
    return paint(gray[level, ::-1, ::-1].T, over[level, ::-1, ::-1].T)


_VIEWS: Final = (_axial, _coronal, _sagittal)


def _enlarged(gray: Rgb) -> Picture.Image:
    height, width = gray.shape
    size = width * SCALE, height * SCALE
    return Picture.fromarray(np.ascontiguousarray(gray)).resize(size, Picture.Resampling.BICUBIC)


def _with_outline(gray: Rgb, mask: NDArray[np.generic]) -> Rgb:
    """Draw the border of a mask, within it."""
    picture = np.array(_enlarged(gray).convert("RGB"))
    large = np.kron(mask.astype(bool), np.ones((SCALE, SCALE), bool))
    picture[large & ~ndimage.binary_erosion(large, iterations=SCALE)] = _OUTLINE
    return picture


def _with_heat(gray: Rgb, probability: NDArray[np.generic]) -> Rgb:
    """Colour what may be lesion: the likelier, the brighter and the less transparent."""
    picture = np.array(_enlarged(gray).convert("RGB")).astype(np.float32)
    share = np.kron(np.clip(probability.astype(np.float32), 0, 1), np.ones((SCALE, SCALE), np.float32))
    stops = np.linspace(0, 1, len(_HEAT))
    color = np.stack([np.interp(share, stops, channel) for channel in _HEAT.T], axis=-1)
    opacity = np.where(share < _LEAST_SHOWN, 0, 0.35 + 0.5 * share)[..., None]
    return ((1 - opacity) * picture + opacity * color).round().astype(np.uint8)


def _tiled(tiles: Sequence[Rgb], columns: int, sides: Sequence[tuple[str, str]]) -> Picture.Image:
    """Put pictures side by side, each in the middle of a cell, with a letter at its left and right border."""
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    rows = -(-len(tiles) // columns)
    sheet = Picture.new("RGB", (width * min(columns, len(tiles)), height * rows))
    drawing, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=9 * SCALE)
    for index, (tile, (left, right)) in enumerate(zip(tiles, sides, strict=True)):
        x, y = width * (index % columns), height * (index // columns)
        sheet.paste(
            Picture.fromarray(tile), (x + (width - tile.shape[1]) // 2, y + (height - tile.shape[0]) // 2)
        )
        drawing.text((x + 4, y + height // 2), left, fill="white", font=font, anchor="lm")
        drawing.text((x + width - 4, y + height // 2), right, fill="white", font=font, anchor="rm")
    return sheet


def _webp(picture: Picture.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return buffer.getvalue()
