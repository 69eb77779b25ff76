"""Source files of prepared training data: found, named and fingerprinted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelabel.errors import DataError, LabelMapError
from strokelabel.geometry import Grid
from strokelabel.geometry.same_grid import find_placement
from strokelabel.io.file_kinds import KNOWN_FORMATS, without_suffix
from strokelabel.io.images import read_label_image
from strokelabel.io.volumes import is_scan_file, read_volume
from strokelabel.labels import LabelTable
from strokelabel.synthesis.prepared.icbm import icbm_template
from strokelabel.types import Affine

_KIND_ENDING = re.compile(r"[_-](dseg|labels?|seg|lesion|mask|lesion_mask)$")


@dataclass(frozen=True)
class SourceFile:
    """A file with a name that is unique among those found together.

    Attributes:
        name: from the path inside the folder, without ending ("sub-01_anat_sub-01").
        source: the data set: its folder's name.
        path: the file.
    """

    name: str
    source: str
    path: Path


def find_sources(folders: Sequence[Path], prefix_source: bool) -> list[SourceFile]:
    """List the image files in folders and their subfolders, by name.

    Names come from the path inside the folder alone, so that adding files renames none.

    Args:
        folders: searched recursively; a file is taken as it is.
        prefix_source: put the folder's name before each name ("soop_sub-0001").

    Raises:
        DataError: a folder does not exist or holds no image, or two files come to the same name.
    """
    found: dict[str, SourceFile] = {}
    for folder in folders:
        for path in _images_in(folder):
            file = _source_file(path, folder, prefix_source)
            if file.name in found:
                raise DataError(
                    f"{found[file.name].path} and {path} would both be named {file.name!r}; rename a file or its folder"
                )
            found[file.name] = file
    return [found[name] for name in sorted(found)]


def fingerprint(path: Path, *more: str) -> str:
    """Return the SHA-256 of a file's content and of further texts."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    for text in more:
        digest.update(b"\0" + text.encode())
    return digest.hexdigest()


def _images_in(folder: Path) -> list[Path]:
    if folder.is_file() and is_scan_file(folder):
        return [folder]
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of image files, found none")
    paths = [path for path in folder.rglob("*") if is_scan_file(path) and path.name[0] != "."]
    if not paths:
        raise DataError(f"{folder}: expected image files ({KNOWN_FORMATS}), found none")
    return sorted(paths)


def _source_file(path: Path, folder: Path, prefix_source: bool) -> SourceFile:
    root = folder.parent if folder.is_file() else folder
    name = source_name(path, root)
    source = root.resolve().name
    return SourceFile(f"{source}_{name}" if prefix_source else name, source, path)


def source_name(path: Path, root: Path) -> str:
    """Return the name of a file by its path below a folder, without ending ("sub-01_anat_sub-01")."""
    name = "_".join(path.relative_to(root).parts)
    name, _ = without_suffix(name)
    return _KIND_ENDING.sub("", name) or name


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
    return prepared_grid(indices, image.affine)


def prepared_grid(volume: NDArray[np.uint8], affine: Affine) -> tuple[NDArray[np.uint8], Affine]:
    """Bring label indices to the grid of prepared label maps: axes closest to RAS, voxels of 1 mm."""
    return _resample_nearest(*_to_closest_canonical(volume, affine))


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


MINIMUM_INSIDE = 0.5
"""A mask with less than this fraction in or near the template's brain was not drawn in ICBM space."""

MARGIN_MM = 6
"""Largest distance of a lesion from the template's brain: brains normalised by other tools overhang a little."""


def read_lesion_mask(path: Path) -> tuple[tuple[int, int, int], NDArray[np.bool_]]:
    """Read a mask drawn in ICBM (MNI) space, on a grid of any orientation and spacing.

    Voxels above 0.5 are lesion (NaN, which some tools write outside the brain, is not). A mask whose voxels are
    those of the ICBM 1 mm grid, moved or flipped by whole voxels, is copied exactly; any other is interpolated
    linearly and cut at one half, or by nearest neighbour if that would lose half of a small lesion.

    Returns:
        Index on the ICBM grid of the crop's first voxel (x, y, z), and the mask in its bounding box.

    Raises:
        ImageError: the file cannot be read or is not one 3-D volume.
        LabelMapError: the mask is empty or lies outside the template's brain.
    """
    image = read_volume(path, np.float32)
    mask, affine = image.data > 0.5, image.affine
    if not mask.any():
        raise LabelMapError(f"{path}: expected a lesion mask, found no voxel above 0.5")
    template = icbm_template()
    placed = place_on_grid(mask, np.linalg.inv(template.affine) @ affine, template.shape)
    whole = mask.sum() * abs(np.linalg.det(affine[:3, :3]) / np.linalg.det(template.affine[:3, :3]))
    inside = float((placed & near_brain()).sum() / whole)
    if inside < MINIMUM_INSIDE:
        raise LabelMapError(
            f"{path}: expected a lesion in ICBM (MNI) space, found {inside:.0%} of it near the template's brain; "
            "normalise the mask to ICBM space first"
        )
    return crop_to_mask(placed)


def place_on_grid(
    mask: NDArray[np.bool_], index_to_grid: Affine, shape: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Bring a mask (i, j, k) onto a grid of 1 mm (x, y, z), given the affine map between their voxel indices.

    Voxels that are the grid's, moved or flipped by whole voxels (`geometry.same_grid`), are copied exactly.
    """
    i, j, k = mask.shape
    placement = find_placement(Grid((i, j, k), index_to_grid), Grid(shape, np.eye(4)))
    if placement is not None:
        return placement.paste(mask)[0]
    return _interpolate(mask, index_to_grid, shape)


def crop_to_mask(mask: NDArray[np.bool_]) -> tuple[tuple[int, int, int], NDArray[np.bool_]]:
    """Return the first voxel of a mask's bounding box, and the mask inside it."""
    x, y, z = ndimage.find_objects(mask.astype(np.uint8))[0]
    return (x.start, y.start, z.start), mask[x, y, z].copy()


@lru_cache(maxsize=1)
def near_brain() -> NDArray[np.bool_]:
    """Return the template's brain mask with its fissures and a margin, (x, y, z), 1 mm."""
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~icbm_template().brain)
    return distance <= MARGIN_MM


def _interpolate(
    mask: NDArray[np.bool_], index_to_grid: Affine, shape: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Interpolate in the box of the grid that the mask reaches."""
    first, last = _reached_box(mask, index_to_grid, shape)
    placed = np.zeros(shape, dtype=bool)
    if np.any(last <= first):
        return placed
    inverse = np.linalg.inv(index_to_grid)
    offset = inverse[:3, :3] @ first + inverse[:3, 3]
    box = tuple(int(n) for n in last - first)
    linear, nearest = (
        ndimage.affine_transform(
            mask.astype(np.float32),
            inverse[:3, :3],
            offset,
            output_shape=box,
            order=order,
            mode="grid-constant",
        )
        > 0.5
        for order in (1, 0)
    )
    inside = linear if linear.sum() >= 0.5 * nearest.sum() else nearest
    placed[tuple(slice(a, b) for a, b in zip(first, last, strict=True))] = inside
    return placed


def _reached_box(
    mask: NDArray[np.bool_], index_to_grid: Affine, shape: tuple[int, int, int]
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return the first voxel (inside) and last (outside) of the box on the grid that holds the mask, cut at the grid's
    edges.
    """
    voxels = np.argwhere(mask)
    low, high = voxels.min(axis=0) - 1, voxels.max(axis=0) + 1
    corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1)
    reached = index_to_grid[:3, :3] @ corners + index_to_grid[:3, 3:]
    first = np.clip(np.floor(reached.min(axis=1)).astype(int), 0, shape)
    last = np.clip(np.ceil(reached.max(axis=1)).astype(int) + 1, 0, shape)
    return first, last
