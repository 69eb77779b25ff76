"""All metrics of one case, as SynthStroke's tables have them, on the papers' grid: 1 mm, 256³, about the reference.

Masks come to it by their positions in space (their affines), never by their indices, so that it makes no
difference how a file stores its axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
from scipy.ndimage import affine_transform

from strokelabel.errors import HeaderError, LabelMapError
from strokelabel.geometry import CanonicalGrid, CropBox, Grid, box_around, is_same_grid
from strokelabel.geometry.same_grid import find_placement
from strokelabel.io import Image
from strokelabel.metrics.lesions import detect_lesions, volume_ml
from strokelabel.metrics.overlap import dice, false_positive_rate, hd95_mm, true_positive_rate

SPACING_MM: Final = 1.0
SIDE: Final = 256
"""Voxels along each axis."""

_OFF_CENTRE: Final = 1e-3
"""Masks are read this far, in voxels, beside the voxels' centres. Where a centre lies between two voxels of a mask,
rounding would otherwise decide, and differently for files with flipped axes."""


def common_grid(reference: Grid) -> Grid:
    """Return the 256³ grid of 1 mm in which a reference and its predictions are compared.

    Its axes are the reference's own, turned to the closest right-anterior-superior order; the reference is padded or
    cropped about its middle.
    """
    canonical = CanonicalGrid.for_image(reference.shape, reference.affine, SPACING_MM).target
    x, y, z = (-((SIDE - size) // 2) for size in canonical.shape)
    return canonical.window((x, y, z), (SIDE, SIDE, SIDE))


def resample_mask(mask: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """Bring a mask to another grid, by nearest neighbour in space.

    Args:
        mask: (i, j, k) on the grid `source`; not zero inside.
        source: where the mask is.
        target: where it should be.

    Returns:
        Booleans of the target's shape; false outside the source.
    """
    result = np.zeros(target.shape, dtype=bool)
    inside = mask.astype(bool)
    if not inside.any():
        return result
    lesion = box_around(inside)
    box = _inside(lesion, source, target)
    if min(box.shape) < 1:
        return result
    start = tuple(first - 1 for first in lesion.start)
    stop = tuple(last + 1 for last in lesion.stop)
    ring = CropBox(lesion.full_shape, _triple(start), _triple(stop))  # false all round, for what is outside
    window = box.grid(target)
    way = np.linalg.inv(ring.grid(source).affine) @ window.affine
    shift = way[:3, 3] + way[:3, :3] @ np.full(3, _OFF_CENTRE)
    part = affine_transform(
        ring.crop(inside).astype(np.uint8), way[:3, :3], shift, output_shape=window.shape, order=0
    )
    return box.paste(part.astype(bool), fill=False)


def reaches_outside(mask: np.ndarray, source: Grid, target: Grid) -> bool:
    """Return whether part of a mask lies beyond a grid, so that `resample_mask` loses it."""
    if not mask.any():
        return False
    low, high = _extent(box_around(mask.astype(bool)), source, target)
    return bool((low < -0.5).any() or (high > np.array(target.shape) - 0.5).any())


def fields_overlap(first: Grid, second: Grid) -> bool:
    """Return whether the fields of view of two grids overlap, as boxes along the second's axes."""
    whole = CropBox(first.shape, (0, 0, 0), first.shape)
    low, high = _extent(whole, first, second)
    return bool((high > -0.5).all() and (low < np.array(second.shape) - 0.5).all())


def _extent(box: CropBox, source: Grid, target: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest index (3,) in the target grid of the outer corners of a box of source voxels."""
    corners = np.array(list(product(*zip(box.start, box.stop, strict=True)))) - 0.5
    found = target.to_voxel(source.to_world(corners))
    return found.min(axis=0), found.max(axis=0)


def _inside(box: CropBox, source: Grid, target: Grid) -> CropBox:
    """Return the target's voxels that a box of source voxels may reach."""
    low, high = _extent(box, source, target)
    start = np.clip(np.floor(low).astype(int) - 1, 0, target.shape)
    stop = np.clip(np.ceil(high).astype(int) + 2, 0, target.shape)
    return CropBox(target.shape, _triple(start), _triple(np.maximum(start, stop)))


def _triple(values: np.ndarray | tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = (int(value) for value in values)
    return x, y, z


@dataclass(frozen=True)
class CaseMetrics:
    """Agreement of a predicted mask with the reference.

    Attributes:
        dice: 2|A∩B| / (|A| + |B|); both empty 1, one empty 0.
        hd95_mm: 95th percentile of the Hausdorff distance; both empty 0, one empty 256.
        volume_difference_ml: absolute difference of the volumes (AVD).
        lesion_difference: absolute difference of the numbers of 26-connected lesions (ALD).
        lesion_f1: lesion-wise F1 by the rule of ISLES'22 (LF1); no lesion in either 1.
        tpr: share of the reference's voxels that were found; NaN where the reference is empty.
        fpr: share of all other voxels of the field that were called lesion.
        reference_ml: volume of the reference.
        prediction_ml: volume of the prediction.
        reference_lesions: number of lesions in the reference.
        prediction_lesions: number of lesions in the prediction.
    """

    dice: float
    hd95_mm: float
    volume_difference_ml: float
    lesion_difference: float
    lesion_f1: float
    tpr: float
    fpr: float
    reference_ml: float
    prediction_ml: float
    reference_lesions: int
    prediction_lesions: int


@dataclass(frozen=True, eq=False)
class ComparedMasks:
    """Two masks on the common grid.

    Attributes:
        grid: 256³ voxels of 1 mm; axes x, y, z.
        reference: (x, y, z) booleans.
        prediction: (x, y, z) booleans.
        notes: what a reader of the metrics should know.
    """

    grid: Grid
    reference: np.ndarray
    prediction: np.ndarray
    notes: tuple[str, ...] = ()

    def metrics(self) -> CaseMetrics:
        """Return all metrics of the case."""
        return compare_masks(
            self.reference, self.prediction, self.grid.spacing, voxel_volume_ml=self.grid.voxel_volume_ml
        )


def bring_together(reference: Image, prediction: Image) -> ComparedMasks:
    """Put a reference and a prediction on the common grid, by their positions in space.

    A prediction that has the reference's voxels (`geometry.same_grid`) comes to it exactly as the reference does:
    neither a rounded affine nor the order of axes makes a difference.

    Args:
        reference: mask from `read_label_image`.
        prediction: likewise, on any grid of the same space.

    Raises:
        HeaderError: the two have no point in common.
        LabelMapError: a mask has more than one value beside zero.
    """
    for mask in (reference, prediction):
        check_is_mask(mask)
    if not fields_overlap(prediction.grid, reference.grid):
        raise HeaderError(
            f"{prediction.source}: expected a mask in the space of {reference.source}, but the two fields of view do "
            "not touch; check the affines in both headers."
        )
    prediction = _snapped(prediction, reference)
    grid = common_grid(reference.grid)
    masks = [resample_mask(mask.data, mask.grid, grid) for mask in (reference, prediction)]
    return ComparedMasks(grid, masks[0], masks[1], _notes(reference, prediction, grid))


def compare_masks(
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    voxel_volume_ml: float | None = None,
) -> CaseMetrics:
    """Return all metrics of two masks on the same grid.

    Args:
        reference: (x, y, z), true (or not zero) inside lesions.
        prediction: (x, y, z), likewise.
        spacing_mm: voxel size.
        voxel_volume_ml: volume of a voxel; that of a box of `spacing_mm` if not given.

    Raises:
        DimensionError: the masks differ in shape.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000 if voxel_volume_ml is None else voxel_volume_ml
    false_positives = false_positive_rate(reference, prediction)
    # Outside of both masks there is nothing to see for the others, and much to compute.
    box = _box_around_both(reference, prediction)
    reference, prediction = box.crop(reference.astype(bool)), box.crop(prediction.astype(bool))
    lesions = detect_lesions(reference, prediction)
    volumes = volume_ml(reference, voxel_ml), volume_ml(prediction, voxel_ml)
    return CaseMetrics(
        dice=dice(reference, prediction),
        hd95_mm=hd95_mm(reference, prediction, spacing_mm),
        volume_difference_ml=abs(volumes[0] - volumes[1]),
        lesion_difference=lesions.count_difference,
        lesion_f1=lesions.f1(),
        tpr=true_positive_rate(reference, prediction),
        fpr=false_positives,
        reference_ml=volumes[0],
        prediction_ml=volumes[1],
        reference_lesions=lesions.reference,
        prediction_lesions=lesions.predicted,
    )


def check_is_mask(mask: Image) -> None:
    """Refuse label maps.

    Raises:
        LabelMapError: more than one value beside zero.
    """
    values = np.unique(mask.data[mask.data != 0])
    if len(values) > 1:
        listed = ", ".join(str(value) for value in values[:6]) + (", …" if len(values) > 6 else "")
        raise LabelMapError(
            f"{mask.source}: expected a mask, with one value beside 0, found {listed}; name the value of the lesion."
        )


def _box_around_both(reference: np.ndarray, prediction: np.ndarray) -> CropBox:
    either = reference.astype(bool) | prediction.astype(bool)
    if not either.any():
        x, y, z = either.shape
        return CropBox((x, y, z), (0, 0, 0), (1, 1, 1))
    return box_around(either)


def _notes(reference: Image, prediction: Image, grid: Grid) -> tuple[str, ...]:
    notes = [
        f"part of the {name} lies outside the {grid.shape[0]} mm field and is not counted"
        for name, mask in (("reference", reference), ("prediction", prediction))
        if reaches_outside(mask.data, mask.grid, grid)
    ]
    if _lost_its_header(reference.grid, prediction.grid):
        notes.append("the prediction has the reference's shape but another position: is its affine right?")
    return tuple(notes)


def _snapped(prediction: Image, reference: Image) -> Image:
    """Return the prediction with the reference's axes and affine where both have the same voxels; else as it is."""
    placement = find_placement(prediction.grid, reference.grid)
    if placement is None or not placement.is_whole:
        return prediction
    return replace(prediction, data=placement.reorder(prediction.data), affine=reference.affine)


def _lost_its_header(reference: Grid, prediction: Grid) -> bool:
    """Return whether two grids of one shape are in different places, which no resampling would cause."""
    return reference.shape == prediction.shape and not is_same_grid(prediction, reference)
