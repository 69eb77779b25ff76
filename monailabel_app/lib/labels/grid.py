"""Bringing labels onto the grid of their scan: turned and flipped exactly, never interpolated.

3D Slicer holds left-handed scans (LAS, LPI, LIA, as dcm2niix and FSL write them) with their last axis flipped,
and saves masks so: the same voxels in another order. Reordering brings them back exactly. Its segmentations may
cover a part of the scan; that is a shift by whole voxels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

from lib.labels.file import LabelFile, read_label_file
from lib.refusals import InvalidRequestError
from strokelabel.io.images import Image

SAME_PLACE_MM = 0.1
"""Distance, along x, y or z, between two positions of a corner up to which grids are one: viewers round."""

QFORM_NOTE = (
    "the label lies on the grid of the scan's qform, which 3D Slicer reads when the sform's code is not 1; it was "
    "brought to the same voxels of the sform's grid"
)


def read_on_grid(path: Path, scan: Image, names: Mapping[str, int] | None = None) -> np.ndarray:
    """The labels (i, j, k) of a file in the order of the scan's axes.

    Args:
        path: the label file.
        scan: whose grid it must be on.
        names: values of a segmentation's segments; see `read_label_file`.

    Raises:
        InvalidRequestError: not readable, or on another grid.
    """
    return bring_to_grid(read_label_file(path, names), scan)[0]


def bring_to_grid(labels: LabelFile, scan: Image) -> tuple[np.ndarray, str]:
    """Labels in the order of the scan's axes, and what a user should know about it ("" for nothing).

    Args:
        labels: on the scan's grid, with axes in any order and direction; a segmentation may cover a part of it.
        scan: any image on the wanted grid; of its header only the qform is asked.

    Returns:
        Whole numbers of the scan's shape.

    Raises:
        InvalidRequestError: on another grid, or painted outside the scan.
    """
    for affine, note in _affines(scan):
        turned = _turned(labels, affine)
        if turned is None:
            continue
        data, its_affine = turned
        if data.shape == scan.data.shape and _same_place(its_affine, affine, data.shape):
            return data, note
        offset = np.rint((np.linalg.inv(affine) @ its_affine)[:3, 3]).astype(int)
        if labels.may_be_cropped and _same_place(its_affine, _shifted(affine, offset), data.shape):
            return _pasted(data, offset, scan), note
    raise InvalidRequestError(
        f"label: expected labels on the grid of {scan.source}, {scan.data.shape} voxels, found "
        f"{labels.data.shape} voxels in another place; export them with the scan as reference."
    )


def _affines(scan: Image) -> Iterator[tuple[np.ndarray, str]]:
    """The scan's affine, then the one that Slicer takes where it is another."""
    yield scan.affine, ""
    if scan.header is None or int(scan.header["sform_code"]) <= 1 or int(scan.header["qform_code"]) <= 0:
        return
    try:
        qform = np.asarray(scan.header.get_qform(), dtype=float)
    except (ValueError, nib.spatialimages.HeaderDataError):
        return
    if np.isfinite(qform).all() and abs(np.linalg.det(qform)) > 1e-9:
        yield qform, QFORM_NOTE


def _turned(labels: LabelFile, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Labels with axes along those of an affine, and their affine then; None where axes do not correspond."""
    turn = nib.orientations.io_orientation(np.linalg.inv(affine) @ labels.affine)
    if np.isnan(turn).any():
        return None
    data = nib.orientations.apply_orientation(labels.data, turn)
    return np.asarray(data), labels.affine @ nib.orientations.inv_ornt_aff(turn, labels.data.shape)


def _same_place(affine: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether all corners of a grid are where they would be by another affine."""
    far = np.array(shape) - 1
    corners = np.stack(np.meshgrid(*[(0, n) for n in far], indexing="ij"), axis=-1).reshape(-1, 3)
    offset = (affine - other)[:3]
    return bool(np.abs(corners @ offset[:, :3].T + offset[:, 3]).max() < SAME_PLACE_MM)


def _shifted(affine: np.ndarray, offset: np.ndarray) -> np.ndarray:
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ offset
    return shifted


def _pasted(data: np.ndarray, offset: np.ndarray, scan: Image) -> np.ndarray:
    """A part of a grid on the whole, given the voxel at which it begins."""
    shape = np.array(scan.data.shape)
    first, last = np.maximum(offset, 0), np.minimum(offset + data.shape, shape)
    last = np.maximum(first, last)
    whole = np.zeros(scan.data.shape, data.dtype)
    target = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    whole[target] = data[tuple(slice(a, b) for a, b in zip(first - offset, last - offset, strict=True))]
    lost = int(np.count_nonzero(data)) - int(np.count_nonzero(whole))
    if lost:
        raise InvalidRequestError(
            f"label: expected segments within {scan.source}, found {lost:,} voxels of them outside it; crop the "
            "segmentation to the scan."
        )
    return whole
