"""Update of a lesion mask by an annotator's prompts; whole lesions are added and removed by a single click."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from strokelabel.errors import DimensionError, LabelMapError, OptionError
from strokelabel.geometry import box_around
from strokelabel.inference.refine.prompts import (
    LESION,
    NOT_LESION,
    Click,
    Prompt,
    Prompts,
    RefineOptions,
    RemoveIsland,
    Scribbles,
    Voxel,
    check_prompts,
    paint,
    painted_labels,
)
from strokelabel.inference.refine.spread import spread_label
from strokelabel.inference.refine.walker import box_about
from strokelabel.io import Image
from strokelabel.metrics import label_lesions
from strokelabel.types import LabelVolume, Mask, Volume

_PATCH_MM = 3.0
_SMOOTHING_MM = 0.8
_TOLERANCES = (3.0, 2.5, 2.0, 1.5, 1.0, 0.7, 0.5)
"""Deviations of the clicked patch that an added region may differ by: the first with which it stays small."""

_THRESHOLD_STEPS = 8
_LEAST_DEVIATION = 0.03


def remove_island(image: Image, mask: Mask, voxel: Voxel, options: RefineOptions) -> None:
    """Clear, in place, the lesion (26-connected) at a voxel or the nearest one close by.

    Args:
        image: the scan, for its voxel sizes.
        mask: (i, j, k) boolean.
        voxel: the click.
        options: how far a click may miss.

    Raises:
        OptionError: there is no lesion so close.
    """
    target = voxel if mask[voxel] else _nearest_lesion(image, mask, voxel, options.island_reach_mm)
    box = box_around(mask)
    inside = tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))
    labels, _ = label_lesions(mask[inside])
    mask[inside] &= labels != labels[tuple(np.array(target) - box.start)]


def _nearest_lesion(image: Image, mask: Mask, voxel: Voxel, reach_mm: float) -> Voxel:
    box = box_about(np.array([voxel]), image.grid.shape, image.grid.spacing, reach_mm)
    found = np.argwhere(box.crop(mask)) + box.start
    distances = np.linalg.norm((found - voxel) @ image.grid.affine[:3, :3].T, axis=1)
    if len(found) == 0 or distances.min() > reach_mm:
        raise OptionError(
            f"Expected a lesion at voxel {voxel} or within {reach_mm:g} mm of it, found none; "
            "click on the island to remove."
        )
    i, j, k = (int(index) for index in found[distances.argmin()])
    return i, j, k


def add_region(
    image: Image, mask: Mask, voxel: Voxel, probability: Volume | None, options: RefineOptions
) -> None:
    """Add, in place, the region around a voxel: where a lesion is probable, else what looks like the voxel.

    Args:
        image: the scan.
        mask: (i, j, k) boolean.
        voxel: the click, which is always added.
        probability: (i, j, k) of lesion, if there is one.
        options: threshold, and the region's largest extent and volume.
    """
    grid = image.grid
    box = box_about(np.array([voxel]), grid.shape, grid.spacing, options.region_reach_mm)
    inside = tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))
    center = np.array(voxel) - box.start
    offsets = np.stack(np.meshgrid(*map(np.arange, box.shape), indexing="ij"), axis=-1) - center
    distance = np.linalg.norm(offsets @ grid.affine[:3, :3].T, axis=-1)
    near = distance <= options.region_reach_mm
    most = max(1, int(options.region_volume_ml / grid.voxel_volume_ml))
    seed = (int(center[0]), int(center[1]), int(center[2]))
    region = None
    if probability is not None:
        region = _probable(probability[inside], near, seed, most, options.region_threshold)
    if region is None:
        smooth = ndimage.gaussian_filter(
            image.data[inside].astype(np.float32), np.array(_SMOOTHING_MM) / grid.spacing
        )
        region = _alike(smooth, near, distance, seed, most)
    mask[inside] |= region


def _probable(probability: Volume, near: Mask, seed: Voxel, most: int, threshold: float) -> Mask | None:
    """Return the probable voxels joined to the seed, at the lowest threshold that keeps them few; None if it is not
    one.
    """
    for least in np.linspace(threshold, max(threshold, 0.9), _THRESHOLD_STEPS):
        probable = near & (probability >= least)
        if not probable[seed]:
            return None
        region = _joined_to(probable, seed)
        if region.sum() <= most:
            return region
    return None


def _alike(intensity: Volume, near: Mask, distance: Volume, seed: Voxel, most: int) -> Mask:
    """Return the voxels like the seed's surroundings and joined to it, at the loosest tolerance that keeps them few."""
    patch = intensity[distance <= max(_PATCH_MM, float(distance[distance > 0].min(initial=np.inf)))]
    low, high = np.percentile(intensity[near], (0.5, 99.5))
    deviation = max(float(np.hypot(patch.std(), _LEAST_DEVIATION * (high - low))), 1e-12)
    middle = float(np.median(patch))
    alone = np.zeros(near.shape, dtype=bool)
    alone[seed] = True
    for tolerance in _TOLERANCES:
        alike = (near & (np.abs(intensity - middle) <= tolerance * deviation)) | alone
        region = _joined_to(alike, seed)
        if region.sum() <= most and not _fills(region, near):
            return region
    return alone


def _fills(region: Mask, near: Mask) -> bool:
    """Return whether a region is stopped by the reach of the click and not by an edge of its own."""
    return bool(region.sum() > 0.5 * near.sum())


def _joined_to(region: Mask, seed: Voxel) -> Mask:
    labels, _ = label_lesions(region)
    return labels == labels[seed]


_MOST_STROKES = 6
"""More strokes of one kind than this are taken as one prompt, so that the answer still comes within a second."""


def refine(
    image: Image,
    mask: np.ndarray,
    prompts: Prompts,
    probability: Volume | None = None,
    options: RefineOptions | None = None,
) -> LabelVolume:
    """Update a lesion mask by what an annotator points at.

    What is painted holds, voxel by voxel, in this and (passed as `prompts.kept`) in every later round. A click or
    stroke that says lesion only adds, one that says not lesion only removes, and nothing changes further than
    `options.reach_mm` from it.

    Args:
        image: the scan, as it passed `read_image`.
        mask: (i, j, k) of 0 and 1 on the scan's grid; all 0 is fine.
        prompts: what the annotator did since, and what they painted before.
        probability: (i, j, k) lesion probability of a model on the scan's grid, if it was kept; all 0 is fine.
        options: see `RefineOptions`.

    Returns:
        (i, j, k) uint8 of 0 and 1; the mask that came in is left as it is.

    Raises:
        OptionError: a prompt outside the scan, or an island to remove where there is none.
        DimensionError: mask, probability or painted labels on another grid.
        LabelMapError: other values in them than expected.
    """
    options = options or RefineOptions()
    shape = image.grid.shape
    current = check_mask(mask, shape)
    _check_probability(probability, shape)
    check_prompts(prompts, shape)
    painted = painted_labels(Prompts((), prompts.kept), shape)
    if prompts.kept is not None:
        _impose(painted, current)
    for prompt in prompts.new:
        paint(prompt, painted)
        _act(image, current, painted, prompt, probability, options)
    return current.astype(np.uint8)


def _impose(painted: LabelVolume, mask: Mask) -> None:
    """Bring a mask in line with what is painted."""
    mask[painted == LESION] = True
    mask[painted == NOT_LESION] = False


def check_mask(mask: np.ndarray, shape: tuple[int, int, int]) -> Mask:
    """Return a copy of a mask as booleans.

    Raises:
        DimensionError: on another grid.
        LabelMapError: other values than 0 and 1.
    """
    if mask.shape != shape:
        raise DimensionError(
            f"Expected a mask on the scan's grid of {shape} voxels, found {mask.shape}; "
            "export it with the scan as reference."
        )
    copy = mask.astype(bool)
    if mask.dtype != bool and not np.array_equal(copy, mask):
        raise LabelMapError(f"Expected a mask of 0 and 1, found values of {mask.min()} to {mask.max()}.")
    return copy


def _check_probability(probability: Volume | None, shape: tuple[int, int, int]) -> None:
    if probability is None:
        return
    if probability.shape != shape:
        raise DimensionError(
            f"Expected a probability on the scan's grid of {shape} voxels, found {probability.shape}."
        )
    if not (probability.min() >= 0 and probability.max() <= 1):  # also true for NaN
        raise LabelMapError(
            f"Expected probabilities of 0 to 1, found {probability.min()} to {probability.max()}."
        )


def _act(
    image: Image,
    mask: Mask,
    painted: LabelVolume,
    prompt: Prompt,
    probability: Volume | None,
    options: RefineOptions,
) -> None:
    """Change a mask in place as one prompt asks, but for what is painted."""
    if isinstance(prompt, Click):
        spread_label(image, mask, painted, np.array([prompt.voxel]), prompt.lesion, probability, options)
    elif isinstance(prompt, Scribbles):
        for seeds, lesion in _strokes(prompt.labels):
            spread_label(image, mask, painted, seeds, lesion, probability, options)
    elif isinstance(prompt, RemoveIsland):
        remove_island(image, mask, prompt.voxel, options)
        _impose(painted, mask)
    else:
        add_region(image, mask, prompt.voxel, probability, options)
        _impose(painted, mask)


def _strokes(labels: LabelVolume) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield the voxels (n, 3) of each stroke, and whether it means lesion."""
    for value in (LESION, NOT_LESION):
        voxels = np.argwhere(labels == value)
        if len(voxels) == 0:
            continue
        start, stop = voxels.min(axis=0), voxels.max(axis=0) + 1
        crop = labels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] == value
        numbers, count = label_lesions(crop)
        if count > _MOST_STROKES:
            yield voxels, value == LESION
            continue
        number_of = numbers[tuple((voxels - start).T)]
        for number in range(1, count + 1):
            yield voxels[number_of == number], value == LESION
