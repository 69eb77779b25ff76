"""A lesion mask, the annotator's prompts, and the mask that follows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from strokelabel.errors import DimensionError, LabelMapError
from strokelabel.inference.refine.islands import add_region, remove_island
from strokelabel.inference.refine.prompts import (
    LESION,
    NOT_LESION,
    Click,
    Prompt,
    Prompts,
    RefineOptions,
    RemoveIsland,
    Scribbles,
    check_prompts,
    paint,
    painted_labels,
)
from strokelabel.inference.refine.spread import spread_label
from strokelabel.io import Image
from strokelabel.metrics import label_lesions
from strokelabel.types import LabelVolume, Mask, Volume

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
