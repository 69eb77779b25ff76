"""The prompts of a request, from the names under which viewers send them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lib.infers.refine_labels import PaintedFile
from lib.refusals import InvalidRequestError
from strokelabel.inference.refine import AddRegion, Click, Prompt, Prompts, RemoveIsland, Scribbles
from strokelabel.inference.refine.prompts import Voxel
from strokelabel.labels import CLASS_NAMES, TissueClass

MOST_POINTS = 200
"""Clicks of one request; each takes a fraction of a second."""

_LESION_KEYS = ("foreground", CLASS_NAMES[TissueClass.LESION])
_OTHER_KEYS = ("background", *(n for n in CLASS_NAMES if n not in ("background", *_LESION_KEYS)))
"""MONAI Label's interactive tasks send "foreground" and "background", or points under the name of each label."""


def read_prompts(request: Mapping[str, Any], painted: PaintedFile | None) -> Prompts:
    """The prompts of a request: strokes, then lesion clicks, then others, then regions and islands.

    Args:
        request: lists of voxels [i, j, k] under "foreground" (or "lesion"), "background" (or a tissue's name),
            "add_region" and "remove_island".
        painted: the label file that came along.

    Raises:
        InvalidRequestError: not lists of voxels, or too many.
    """
    strokes = () if painted is None or painted.strokes is None else (Scribbles(painted.strokes),)
    clicks: list[Prompt] = [Click(v, lesion=True) for key in _LESION_KEYS for v in _voxels(request, key)]
    clicks += [Click(v, lesion=False) for key in _OTHER_KEYS for v in _voxels(request, key)]
    clicks += [AddRegion(v) for v in _voxels(request, "add_region")]
    clicks += [RemoveIsland(v) for v in _voxels(request, "remove_island")]
    if len(clicks) > MOST_POINTS:
        raise InvalidRequestError(
            f"Expected at most {MOST_POINTS} points in a request, found {len(clicks)}; use scribbles."
        )
    return Prompts((*strokes, *clicks), None if painted is None else painted.kept)


def read_region_of_interest(request: Mapping[str, Any], shape: Voxel) -> tuple[slice, ...] | None:
    """The box outside which nothing may change, from "roi": first and last voxel along i, j and k.

    Raises:
        InvalidRequestError: not six whole numbers.
    """
    roi = request.get("roi")
    if not roi:
        return None
    if not isinstance(roi, list) or len(roi) != 6 or not all(_is_whole(n) for n in roi):
        raise InvalidRequestError(
            f"roi: expected six whole numbers, first and last voxel along i, j and k, found {roi!r}."
        )
    sides = [sorted((int(roi[2 * axis]), int(roi[2 * axis + 1]))) for axis in range(3)]
    return tuple(slice(max(0, a), max(0, min(n, b + 1))) for (a, b), n in zip(sides, shape, strict=True))


def limited_to(region: tuple[slice, ...] | None, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """A mask that is `after` within a region of interest and `before` outside it."""
    if region is None:
        return after
    limited = before.astype(after.dtype)
    limited[region] = after[region]
    return limited


def _voxels(request: Mapping[str, Any], key: str) -> Iterator[Voxel]:
    points = request.get(key)
    if points is None or points == "":
        return
    if not isinstance(points, list):
        raise InvalidRequestError(
            f"{key}: expected a list of voxels [i, j, k], found {type(points).__name__}."
        )
    if len(points) == 3 and all(_is_whole(n) for n in points):
        points = [points]
    for point in points:
        if not isinstance(point, list) or len(point) != 3 or not all(_is_whole(n) for n in point):
            raise InvalidRequestError(f"{key}: expected voxels [i, j, k] of whole numbers, found {point!r}.")
        yield int(point[0]), int(point[1]), int(point[2])


def _is_whole(number: object) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and float(number).is_integer()
