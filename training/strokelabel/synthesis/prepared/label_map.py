"""Label map files: read, checked against a label table, and brought to canonical RAS at 1 mm."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.errors import LabelMapError
from strokelabel.io.images import read_label_image
from strokelabel.labels import LabelTable
from strokelabel.types import Affine

SPACING_MM = 1.0
"""Voxel size of prepared label maps."""

MAXIMUM_LABELS = 256
"""Prepared label maps hold one byte a voxel."""


def read_label_map(path: Path, table: LabelTable) -> tuple[NDArray[np.uint8], Affine]:
    """Read a label map as indices into a label table, on a canonical grid.

    Axes are reordered and flipped to the closest of right, front, top; voxels of another size than 1 mm are
    resampled by nearest neighbour.

    Returns:
        Index of each voxel's label in the table (x, y, z), and voxel index to RAS mm.

    Raises:
        ImageError: the file cannot be read or is not one 3-D volume.
        LabelMapError: a value is not a whole number or not in the table, or the table has over 256 labels.
    """
    image = read_label_image(path)
    indices = _to_indices(image.data, table, str(path))
    canonical, affine = _to_closest_canonical(indices, image.affine)
    return _resample_nearest(canonical, affine)


def _to_indices(volume: NDArray[np.int32], table: LabelTable, source: str) -> NDArray[np.uint8]:
    if len(table.labels) > MAXIMUM_LABELS:
        raise LabelMapError(
            f"expected a label table of at most {MAXIMUM_LABELS} rows, found {len(table.labels)}"
        )
    values, positions = np.unique(volume, return_inverse=True)
    ids = [int(value) for value in values]
    table.check(set(ids), source)
    lookup = np.array([table.index(label_id) for label_id in ids], dtype=np.uint8)
    return lookup[positions].reshape(volume.shape)


def _to_closest_canonical(volume: NDArray[np.uint8], affine: Affine) -> tuple[NDArray[np.uint8], Affine]:
    orientation = nib.io_orientation(affine)
    canonical = nib.apply_orientation(volume, orientation)
    return canonical, affine @ nib.orientations.inv_ornt_aff(orientation, volume.shape)


def _resample_nearest(volume: NDArray[np.uint8], affine: Affine) -> tuple[NDArray[np.uint8], Affine]:
    """Resample to 1 mm voxels; the centre of the field of view stays where it is."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if np.allclose(spacing, SPACING_MM, rtol=1e-3):
        return np.ascontiguousarray(volume), affine
    step = SPACING_MM / spacing
    shape = np.maximum(np.round(np.array(volume.shape) / step), 1).astype(int)
    first = (np.array(volume.shape) - 1) / 2 - step * (shape - 1) / 2
    resampled = ndimage.affine_transform(
        volume, step, first, output_shape=tuple(shape), order=0, mode="nearest", prefilter=False
    )
    to_source = np.diag([*step, 1.0])
    to_source[:3, 3] = first
    return resampled, affine @ to_source
