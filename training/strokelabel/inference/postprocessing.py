"""Corrections of predictions: small islands, lesion outside the brain, and scattered pieces of structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
from scipy import ndimage, optimize

from strokelabel.geometry import box_around
from strokelabel.inference.head import block_means
from strokelabel.inference.options import PredictionOptions
from strokelabel.metrics import label_lesions, volume_ml
from strokelabel.metrics.lesions import CONNECTIVITY
from strokelabel.structures import CSF_ID, LESION, Structure
from strokelabel.types import ChannelVolume, Mask, Volume


def lesion_mask(lesion: Volume, likeliest: Mask, voxel_volume_ml: float, options: PredictionOptions) -> Mask:
    """Decide which voxels are lesion.

    Args:
        lesion: (i, j, k) probability of lesion.
        likeliest: (i, j, k), whether lesion is the most likely class.
        voxel_volume_ml: volume of a voxel.
        options: threshold, hole filling, smallest size.
    """
    mask = above_threshold(lesion, likeliest, options)
    if options.fill_holes:
        mask = ndimage.binary_fill_holes(mask)
    if options.min_size_ml > 0:
        mask = drop_small_lesions(mask, options.min_size_ml, voxel_volume_ml)
    return mask


def above_threshold(lesion: Volume, likeliest: Mask, options: PredictionOptions) -> Mask:
    """Return the voxels at or above the threshold, or those whose most likely class is lesion; see `lesion_mask`."""
    return likeliest if options.threshold is None else lesion >= options.threshold


def drop_small_lesions(mask: Mask, min_size_ml: float, voxel_volume_ml: float) -> Mask:
    """Return a copy of a (i, j, k) mask without its lesions (26-connected) of less than `min_size_ml`."""
    labels, count = label_lesions(mask)
    sizes_ml = np.bincount(labels.ravel(), minlength=count + 1) * voxel_volume_ml
    kept = sizes_ml >= min_size_ml * (1 - 1e-9)
    kept[0] = False
    return kept[labels]


_SAMPLED_VOXELS = 3000
_SMOOTHING_VOXELS = 1.0
_MOST_EVALUATIONS = 120
_FIRST_STEPS = ((0.0, 0.0, 0.0), (0.15, 0.0, 0.0), (0.0, 0.15, 0.0), (0.0, 0.0, 2.0))
"""First simplex: slopes towards y and z, and a shift in voxels."""


@dataclass(frozen=True, eq=False)
class Plane:
    """Points x, in voxels, with `normal @ x == offset`.

    Attributes:
        normal: unit vector (3,), near the first axis.
        offset: distance from voxel 0, in voxels.
    """

    normal: np.ndarray
    offset: float

    def reflect(self, points: np.ndarray) -> np.ndarray:
        """Mirror images of points (n, 3)."""
        return points - 2 * (points @ self.normal - self.offset)[:, None] * self.normal


def midsagittal_plane(head: Mask) -> Plane:
    """Return the plane at which a mask is most symmetric.

    Deterministic. Found from a start in the middle of the mask, across the first axis, up to some 30 degrees away.

    Args:
        head: (x, y, z), first axis to the right; not empty.
    """
    voxels = np.argwhere(head)
    center = voxels.mean(axis=0)
    points = voxels[:: max(1, len(voxels) // _SAMPLED_VOXELS)].astype(np.float64)
    soft = ndimage.gaussian_filter(head.astype(np.float32), _SMOOTHING_VOXELS)

    def plane(parameters: np.ndarray) -> Plane:
        normal = np.array([1.0, parameters[0], parameters[1]])
        normal /= np.linalg.norm(normal)
        return Plane(normal, float(normal @ center + parameters[2]))

    def missed(parameters: np.ndarray) -> float:
        images = plane(parameters).reflect(points)
        return -float(ndimage.map_coordinates(soft, images.T, order=1).mean())

    simplex = np.array(_FIRST_STEPS)
    options = {"initial_simplex": simplex, "maxfev": _MOST_EVALUATIONS, "xatol": 1e-2, "fatol": 1e-4}
    return plane(optimize.minimize(missed, simplex[0], method="Nelder-Mead", options=options).x)


def mirrored(mask: Mask, plane: Plane) -> Mask:
    """Return a (x, y, z) mask reflected at a plane; voxels outside the grid are lost."""
    matrix = np.eye(3) - 2 * np.outer(plane.normal, plane.normal)
    shift = 2 * plane.offset * plane.normal
    return ndimage.affine_transform(mask.astype(np.float32), matrix, shift, order=1) > 0.5


_WORKING_MM = 3.0
_BRIDGE_MM = 5.0
"""Bridges to the face of less than twice this are cut. With 4 mm a child's head of `benchmarks/outside_brain.py` keeps
27 ml of false lesion, with 5 and 6 mm it does not."""

_PIECE_SHARE = 0.1
"""Pieces of at least this much of the largest are brain too: in a stack of slices through the skull base, the temporal
lobes and the cerebellum lie apart. Those of that child's face have 0.03."""

_CLOSING_MM = 12.0
_LEAST_ML = 100.0
"""With less parenchyma than this it is not known where the brain is."""


def brain_region(parenchyma: Volume, head: Volume, spacing_mm: float) -> Mask | None:
    """Return the brain with its lesions; accurate to some 3 mm.

    Args:
        parenchyma: (x, y, z), probability of gray or white matter, x to the right.
        head: (x, y, z), probability of anything but background.
        spacing_mm: voxel size.

    Returns:
        (x, y, z) mask; None where too little parenchyma is predicted to tell.
    """
    factor = max(1, round(_WORKING_MM / spacing_mm))
    spacing = factor * spacing_mm
    tissue = block_means(parenchyma, factor) >= 0.5
    core = _without_bridges(tissue, spacing)
    if volume_ml(core, spacing**3 / 1000) < _LEAST_ML:
        return None
    plane = midsagittal_plane(block_means(head, factor) > 0.5)
    region = closed(core | mirrored(core, plane), spacing, _CLOSING_MM)
    x, y, z = parenchyma.shape
    return region.repeat(factor, 0).repeat(factor, 1).repeat(factor, 2)[:x, :y, :z]


def _without_bridges(tissue: Mask, spacing_mm: float) -> Mask:
    """Return the large pieces of a mask after an opening by a ball of `_BRIDGE_MM`."""
    if not tissue.any():
        return tissue
    box = box_around(tissue, margin_vox=1)
    part = np.pad(box.crop(tissue), 1)
    pieces, count = label_lesions(ndimage.distance_transform_edt(part) * spacing_mm > _BRIDGE_MM)
    if count == 0:
        return np.zeros_like(tissue)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    seed = (sizes >= _PIECE_SHARE * sizes.max())[pieces]
    near = ndimage.distance_transform_edt(~seed) * spacing_mm <= _BRIDGE_MM
    return box.paste((part & near)[1:-1, 1:-1, 1:-1])


def closed(mask: Mask, spacing_mm: float, radius_mm: float) -> Mask:
    """Return a (x, y, z) mask closed by a ball, its holes filled.

    Args:
        mask: not empty.
        spacing_mm: voxel size.
        radius_mm: of the ball.
    """
    radius = radius_mm / spacing_mm
    margin = int(radius) + 2
    box = box_around(mask)
    part = np.pad(box.crop(mask), margin)
    grown = ndimage.distance_transform_edt(~part) <= radius
    filled = ndimage.binary_fill_holes(part | (ndimage.distance_transform_edt(grown) > radius))
    inner = slice(margin, -margin)
    return box.paste(filled[inner, inner, inner])


_LEAST_SHARE = 0.2
_LEAST_OUTSIDE_ML = 1.0
_LARGE_SHARE = 0.1
"""A lesion is kept with a fifth of itself or 1 ml in the brain, or with a tenth of the brain's volume. That leaves
room: false lesions of the face hardly touch the brain, large infarcts have tens of ml in it. What it costs and gains
is measured by `benchmarks/outside_brain.py`."""

_FAINT = 0.02
"""Around a dropped lesion its probability is cleared down to this, or another threshold would bring its edge back."""


def outside_brain(mask: Mask, brain: Mask, voxel_volume_ml: float) -> Mask:
    """Return the lesions (26-connected) of a mask that lie outside the brain.

    Args:
        mask: (i, j, k), lesions.
        brain: (i, j, k), see `brain_region`.
        voxel_volume_ml: volume of a voxel.
    """
    dropped = np.zeros_like(mask)
    box = _box_of(mask)
    if box is None:
        return dropped
    labels, count = label_lesions(mask[box])
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    within = np.bincount(labels[brain[box]], minlength=count + 1)
    kept = (
        (within >= _LEAST_SHARE * sizes)
        | (within * voxel_volume_ml >= _LEAST_OUTSIDE_ML)
        | (sizes >= _LARGE_SHARE * np.count_nonzero(brain))
    )
    kept[0] = True
    dropped[box] = ~kept[labels]
    return dropped


def faint_surroundings(probability: Volume, dropped: Mask, mask: Mask, brain: Mask, voxel_ml: float) -> Mask:
    """Return the dropped lesions and the faint probability around them, unless that leads to a lesion that is kept.

    Args:
        probability: (i, j, k) of lesion.
        dropped: (i, j, k), see `outside_brain`.
        mask: (i, j, k), the lesions that are kept.
        brain: (i, j, k).
        voxel_ml: volume of a voxel.
    """
    if not dropped.any():
        return dropped
    faint = outside_brain((probability >= _FAINT) | dropped, brain, voxel_ml)
    box = _box_of(faint)
    if box is None:
        return dropped
    labels, count = label_lesions(faint[box])
    of_dropped = np.zeros(count + 1, bool)
    of_dropped[labels[dropped[box]]] = True
    of_dropped[labels[mask[box]]] = False
    of_dropped[0] = False
    cleared = dropped.copy()
    cleared[box] |= of_dropped[labels]
    return cleared


def _box_of(mask: Mask) -> tuple[slice, slice, slice] | None:
    """Return the bounding box of a mask, found faster than by counting; None where it is empty."""
    columns = mask.any(axis=2)
    if not columns.any():
        return None
    i, j = _extent(columns.any(axis=1)), _extent(columns.any(axis=0))
    return i, j, _extent(mask[i, j].any(axis=(0, 1)))


def _extent(used: np.ndarray) -> slice:
    found = np.flatnonzero(used)
    return slice(int(found[0]), int(found[-1]) + 1)


SCATTERED_IDS = frozenset({CSF_ID, LESION.id})
"""Structures that come in several pieces; of all others the largest piece is kept."""


def keep_largest_pieces(probabilities: ChannelVolume, structures: Sequence[Structure]) -> None:
    """Zero each structure's probability outside its largest component, in place, and normalise the sums to one.

    Billot et al. 2023 (section 3.3) keep the largest piece of each structure too; where a smaller one was, the next
    most likely structure takes its place.

    Args:
        probabilities: (structures, x, y, z), summing to one.
        structures: of the channels.
    """
    labels = probabilities.argmax(axis=0).astype(np.uint8)
    pieces = cc3d.connected_components(labels, connectivity=CONNECTIVITY)
    sizes = np.bincount(pieces.ravel())
    owner = np.zeros(len(sizes), dtype=np.intp)
    owner[pieces.ravel()] = labels.ravel()
    kept = np.isin(owner, [i for i, one in enumerate(structures) if one.id in SCATTERED_IDS]) | (owner == 0)
    for index in np.unique(owner):
        kept[np.where(owner == index, sizes, -1).argmax()] = True
    dropped = ~kept[pieces]
    probabilities[labels[dropped], *np.nonzero(dropped)] = 0
    rest = probabilities[:, dropped]
    rest[0] += np.finfo(np.float32).tiny  # background, should nothing else be left
    probabilities[:, dropped] = rest / rest.sum(axis=0)
