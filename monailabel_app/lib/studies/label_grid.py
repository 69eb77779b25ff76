"""Label files of requests, and their grid: the check against the scan, and the way onto the scan's grid.

Files are read as the package does, and refused without the server's paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from lib.refusals import InvalidRequestError
from lib.studies.label_meaning import classes_of, with_meaning
from strokelabel.errors import GeometryError, ImageError, LabelMapError
from strokelabel.geometry import Grid, check_same_grid
from strokelabel.geometry import bring_to_grid as bring_to_same_grid
from strokelabel.io import label_files
from strokelabel.io.images import Image, read_image_header
from strokelabel.io.label_files import LabelFile, Segment


def read_label_file(path: Path, names: Mapping[str, int] | None = None) -> LabelFile:
    """Read labels; see `strokelabel.io.label_files.read_label_file`.

    Raises:
        InvalidRequestError: not readable, not 3-D, or not whole numbers.
    """
    with _refused():
        return label_files.read_label_file(path, names)


def read_label_grid(path: Path) -> tuple[Grid, bool]:
    """Return the grid of a label file by its header alone, and whether it may cover a part of its scan only.

    Raises:
        InvalidRequestError: not a label file, or not 3-D.
    """
    with _refused():
        return label_files.read_label_grid(path)


def read_label_segments(path: Path) -> list[Segment]:
    """Return the segments that a label file names, by its header alone; [] for other files than NRRD.

    Raises:
        InvalidRequestError: not a label file.
    """
    with _refused():
        return label_files.read_label_segments(path)


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except (LabelMapError, ImageError) as error:
        raise InvalidRequestError(error.message, source="the label file") from error


@dataclass(frozen=True, eq=False)
class CheckedLabel:
    """A label that can be kept.

    Attributes:
        data: uint8, (i, j, k) on the scan's grid.
        like: the scan's grid and header; its voxels are all zero.
        info: what the client said about it, with the meaning of its values, and notes.
    """

    data: np.ndarray
    like: Image
    info: dict[str, Any]


def check_label(path: Path, scan: Path, name: str, info: dict[str, Any]) -> CheckedLabel:
    """Read a submitted label onto its scan's grid.

    Args:
        path: the label file.
        scan: the scan's file.
        name: what the client calls the scan.
        info: what the client said about the label.

    Raises:
        InvalidRequestError: not a label, not on the scan's grid, or its lesion cannot be told.
        ImageError: the scan cannot be read.
    """
    like = read_reference(scan, name)
    file = read_label_file(path, {name.lower(): value for value, name in classes_of(info).items()})
    labels, note = bring_to_grid(file, like)
    data, _, info = with_meaning(labels, {**info, "notes": [note]} if note else info, file.names)
    return CheckedLabel(data.astype(np.uint8), like, info)


def read_reference(path: Path, name: str) -> Image:
    """Return the grid and header of a scan, without reading its voxels.

    Raises:
        ImageError: the scan cannot be read.
    """
    try:
        return replace(read_image_header(path), source=name)
    except ImageError as error:
        raise error.with_source(name) from error


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
