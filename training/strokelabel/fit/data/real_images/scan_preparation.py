"""Bring a real scan to the training grid: resampled, centred on its brain, its place in ICBM space known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.errors import DimensionError, LabelMapError
from strokelabel.fit.data.real_images.scans import SHAPE, SPACING_MM
from strokelabel.fit.pseudo_labels.lesions import align_with_icbm
from strokelabel.geometry import CanonicalGrid, CropBox, box_around
from strokelabel.inference.intensity import prepare_intensities
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io.images import Image
from strokelabel.metrics import largest_component
from strokelabel.synthesis.prepared.registration import MINIMUM_SIMILARITY
from strokelabel.types import Affine, Mask, Volume

ICBM_BRAIN_MM = np.array([[-72.0, -107.0, -64.0], [72.0, 74.0, 82.0]])
"""Bounding box of the template's brain, for scans that cannot be registered."""

_CLOSING_VOXELS = 3
_MEDIAN_VOXELS = 9
_BRIGHTEST = 99.9
_HEADROOM = 1.25
"""Headroom of the brightest brain tissue, which is stored as 255 / 1.25, so that fat and vessels may be brighter."""


@dataclass(frozen=True)
class ScanOnGrid:
    """A scan as it is stored; see `strokelabel.fit.data.real_images.scans.PreparedScan`.

    Attributes:
        similarity: of the registration; below `MINIMUM_SIMILARITY`, the brain's bounding box has taken its place.
    """

    image: NDArray[np.uint8]
    brain: NDArray[np.bool_]
    lesion: NDArray[np.bool_] | None
    to_icbm: Affine
    similarity: float


def bring_to_grid(
    image: Image, lesion: Mask | None, predictor: Predictor, *, fill_hyperintensities: bool
) -> ScanOnGrid:
    """Bring a scan and its lesion mask to the training grid.

    Args:
        image: any orientation and spacing.
        lesion: (i, j, k) on the scan's grid; None for a scan without a stroke.
        predictor: its classes say where the brain is.
        fill_hyperintensities: replace bright spots of the white matter by what surrounds them.

    Raises:
        LabelMapError: the model finds no brain.
        ImageError: the scan cannot be segmented.
    """
    labels = predictor.predict(image, PredictionOptions()).labels
    grid = CanonicalGrid.for_image(image.grid.shape, image.affine, SPACING_MM)
    brain = _brain_mask(grid.forward((labels > 0).astype(np.float32)) > 0.5, image.source)
    box = _box_about(brain)
    inside = box.crop(brain)
    volume = box.crop(grid.forward(prepare_intensities(image.data, None)))
    if fill_hyperintensities:
        volume = fill_bright_spots(volume, inside)
    alignment = align_with_icbm(labels, image.grid)
    similarity = 0.0 if alignment is None else alignment.similarity
    if alignment is None or similarity < MINIMUM_SIMILARITY:
        to_icbm = _icbm_by_bounding_box(inside)
    else:
        to_icbm = alignment.to_icbm @ box.grid(grid.target).affine @ _index_from_mm()
    return ScanOnGrid(
        image=_as_bytes(volume, inside),
        brain=inside,
        lesion=None if lesion is None else box.crop(_on_grid(lesion, grid, image.source)),
        to_icbm=to_icbm,
        similarity=similarity,
    )


def fill_bright_spots(volume: Volume, brain: NDArray[np.bool_]) -> Volume:
    """Replace what is much brighter than the brain around it, such as lesions of multiple sclerosis on FLAIR.

    Left as they are, and labelled "no lesion", they teach a model that bright white matter is never a stroke.

    Args:
        volume: (x, y, z), voxels of 1.5 mm.
        brain: (x, y, z).

    Returns:
        (x, y, z): spots more than two (robust) standard deviations above the brain's median, deeper than 6 mm, as the
        median of their surroundings with noise.
    """
    inner = ndimage.binary_erosion(brain, iterations=4)
    if not inner.any():
        return volume
    median = float(np.median(volume[inner]))
    deviation = 1.4826 * float(np.median(np.abs(volume[inner] - median)))
    hot = ndimage.binary_dilation((volume > median + 2 * deviation) & inner) & inner
    if not hot.any():
        return volume
    weight = ndimage.gaussian_filter(hot.astype(np.float32), 0.7)
    around = np.minimum(_local_median(volume, weight > 0), median + deviation)
    noise = np.random.default_rng(0).normal(0, 0.4 * deviation, volume.shape)
    filled = volume * (1 - weight) + (around + noise) * weight
    return np.clip(filled, 0, None).astype(np.float32)


def _local_median(volume: Volume, wanted: NDArray[np.bool_]) -> Volume:
    """Return the median over 9 voxels along each axis where it is wanted, (x, y, z); elsewhere the volume itself."""
    box = box_around(wanted, margin_vox=_MEDIAN_VOXELS // 2)
    filtered = box.paste(ndimage.median_filter(box.crop(volume), _MEDIAN_VOXELS))
    return np.where(wanted, filtered, volume)


def _brain_mask(predicted: NDArray[np.bool_], source: str) -> NDArray[np.bool_]:
    """Return the largest piece of the predicted brain, closed and without holes."""
    if not predicted.any():
        raise LabelMapError(f"{source}: expected a scan of a brain, the model finds none in it")
    closed = ndimage.binary_closing(
        np.pad(largest_component(predicted), _CLOSING_VOXELS), iterations=_CLOSING_VOXELS
    )
    x, y, z = (slice(_CLOSING_VOXELS, -_CLOSING_VOXELS) for _ in range(3))
    return ndimage.binary_fill_holes(closed[x, y, z])


def _box_about(brain: NDArray[np.bool_]) -> CropBox:
    """Return the box of `SHAPE` voxels with the brain's centroid in its middle; it may reach beyond the scan."""
    x, y, z = (
        round(centre - (side - 1) / 2)
        for centre, side in zip(ndimage.center_of_mass(brain), SHAPE, strict=True)
    )
    a, b, c = brain.shape
    return CropBox((a, b, c), (x, y, z), (x + SHAPE[0], y + SHAPE[1], z + SHAPE[2]))


def _on_grid(lesion: Mask, grid: CanonicalGrid, source: str) -> NDArray[np.bool_]:
    """Return a mask on the canonical grid."""
    if lesion.shape != grid.source.shape:
        raise DimensionError(
            f"{source}: expected a lesion mask on the scan's grid, found shape {lesion.shape}"
        )
    return grid.forward(lesion.astype(np.float32)) > 0.5


def _as_bytes(volume: Volume, brain: NDArray[np.bool_]) -> NDArray[np.uint8]:
    top = _HEADROOM * max(float(np.percentile(volume[brain], _BRIGHTEST)), 1e-12)
    return np.round(255 * np.clip(volume / top, 0, 1)).astype(np.uint8)


def _index_from_mm() -> Affine:
    """Return the map (4, 4) from mm about the grid's centre to its voxel index."""
    matrix = np.diag([1 / SPACING_MM] * 3 + [1.0])
    matrix[:3, 3] = (np.array(SHAPE) - 1) / 2
    return matrix


def _icbm_by_bounding_box(brain: NDArray[np.bool_]) -> Affine:
    """Return the map (4, 4) from mm about the grid's centre to ICBM mm: bounding box of the brain onto that of the
    template.
    """
    found = np.argwhere(brain)
    low, high = (SPACING_MM * (corner - (np.array(SHAPE) - 1) / 2) for corner in (found.min(0), found.max(0)))
    scale = (ICBM_BRAIN_MM[1] - ICBM_BRAIN_MM[0]) / np.maximum(high - low, SPACING_MM)
    matrix = np.diag([*scale, 1.0])
    matrix[:3, 3] = ICBM_BRAIN_MM[0] - scale * low
    return matrix
