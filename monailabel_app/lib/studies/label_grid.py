"""Reordering of labels to the grid of their scan: permuted and flipped exactly, never interpolated.

3D Slicer holds left-handed scans (LAS, LPI, LIA, as dcm2niix and FSL write them) with their last axis flipped,
and saves masks so: the same voxels in another order. Reordering brings them back exactly. Its segmentations may
cover a part of the scan; that is a shift by whole voxels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

from lib.refusals import InvalidRequestError
from lib.studies.label_files import LabelFile, read_label_file, read_label_grid
from strokelabel.errors import GeometryError, ImageError
from strokelabel.geometry import Grid, check_same_grid
from strokelabel.geometry import bring_to_grid as bring_to_same_grid
from strokelabel.io.images import Image

QFORM_NOTE = (
    "the label lies on the grid of the scan's qform, which 3D Slicer reads when the sform's code is not 1; it was "
    "brought to the same voxels of the sform's grid"
)


def read_on_grid(path: Path, scan: Image, names: Mapping[str, int] | None = None) -> np.ndarray:
    """Read the labels (i, j, k) of a file in the order of the scan's axes.

    Args:
        path: the label file.
        scan: whose grid it must be on.
        names: values of a segmentation's segments; see `read_label_file`.

    Raises:
        InvalidRequestError: not readable, or on another grid.
    """
    return bring_to_grid(read_label_file(path, names), scan)[0]


def bring_to_grid(labels: LabelFile, scan: Image) -> tuple[np.ndarray, str]:
    """Return the labels in the order of the scan's axes, and a note for the user ("" for none).

    Args:
        labels: on the scan's grid, with axes in any order and direction; a segmentation may cover a part of it.
        scan: any image on the wanted grid; of its header only the qform is asked.

    Returns:
        Whole numbers of the scan's shape.

    Raises:
        InvalidRequestError: on another grid, or painted outside the scan.
    """
    refusal = None
    for affine, note in _affines(scan):
        try:
            target = Grid(scan.grid.shape, affine)
            data = bring_to_same_grid(
                labels.data, labels.grid, target, "label", scan.source, may_be_part=labels.may_be_cropped
            )
            return data, note
        except ImageError as error:
            refusal = refusal or error
    raise InvalidRequestError(str(refusal)) from refusal


def check_label_grid(path: Path, scan: Image) -> None:
    """Refuse a label file on another grid than its scan's, by the header alone.

    Raises:
        InvalidRequestError: not a label file, or on another grid.
    """
    grid, may_be_cropped = read_label_grid(path)
    try:
        check_same_grid(grid, scan.grid, "label", scan.source, may_be_part=may_be_cropped)
    except GeometryError as error:
        raise InvalidRequestError(str(error)) from error


def _affines(scan: Image) -> Iterator[tuple[np.ndarray, str]]:
    """Yield the scan's affine, then the one that Slicer uses if it is different."""
    yield scan.affine, ""
    if scan.header is None or int(scan.header["sform_code"]) <= 1 or int(scan.header["qform_code"]) <= 0:
        return
    try:
        qform = np.asarray(scan.header.get_qform(), dtype=float)
    except (ValueError, nib.spatialimages.HeaderDataError):
        return
    if np.isfinite(qform).all() and abs(np.linalg.det(qform)) > 1e-9:
        yield qform, QFORM_NOTE
