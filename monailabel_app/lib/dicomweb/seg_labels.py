"""From a submitted label file to the segments of a DICOM SEG, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib.refusals import InvalidRequestError, UnsupportedFileError
from lib.studies.label_grid import bring_to_grid, read_label_file
from lib.studies.label_meaning import classes_of, with_meaning
from lib.studies.scan_list import LABEL_SUFFIXES, split_suffix
from strokelabel.io import write_nifti
from strokelabel.io.dicom.segmentation_attributes import (
    LESION_NAME,
    LESION_SEGMENT,
    SegmentMeaning,
    meaning_of,
)
from strokelabel.io.dicom.segmentation_reader import read_dicom_seg
from strokelabel.io.images import Image

_BINARY = ".bin"


def read_label(path: Path, scan: Image, info: Mapping[str, Any]) -> tuple[np.ndarray, dict[int, str]]:
    """Read a submitted label on the grid of its scan, and the name of each of its values.

    Args:
        path: NIfTI, NRRD, or bytes as OHIF sends them (.bin): a voxel each, in the order of the scan.
        scan: the scan.
        info: what came with the label. The segments of a .seg.nrrd get the values that it names.

    Returns:
        The labels (i, j, k), and value -> name; {} for a mask without names.

    Raises:
        UnsupportedFileError: another kind of file.
        InvalidRequestError: not readable, on another grid, or its lesion cannot be told.
    """
    if path.suffix.lower() == _BINARY:
        return with_meaning(_read_bytes(path, scan), info)[:2]
    if not split_suffix(path.name, LABEL_SUFFIXES)[1]:
        kinds = ", ".join((*LABEL_SUFFIXES, _BINARY))
        raise UnsupportedFileError(f"label: expected a file of a kind in {kinds}, found another.")
    file = read_label_file(path, {name.lower(): value for value, name in classes_of(info).items()})
    return with_meaning(bring_to_grid(file, scan)[0], info, file.names)[:2]


def _read_bytes(path: Path, scan: Image) -> np.ndarray:
    values = np.fromfile(path, np.uint8)
    if values.size != scan.data.size:
        raise InvalidRequestError(
            f"label: expected {scan.data.size} bytes, one for each voxel of {scan.source}, found {values.size}; "
            "export the label on the scan's grid."
        )
    return values.reshape(scan.data.shape, order="F")


def as_segments(
    labels: np.ndarray, classes: Mapping[int, str]
) -> tuple[np.ndarray, Mapping[int, SegmentMeaning]]:
    """Return the labels with the values 1 to n of their segments, and the meaning of each.

    Args:
        labels: (i, j, k), all of whose values are named.
        classes: value -> name; a single one, whatever its name, is the lesion, and so is everything without names.
    """
    if len(classes) <= 1:
        return (labels > 0).astype(np.uint8), LESION_SEGMENT
    numbered = np.zeros(labels.shape, np.uint8)
    segments: dict[int, SegmentMeaning] = {}
    for number, (value, name) in enumerate(sorted(classes.items()), start=1):
        numbered[labels == value] = number
        segments[number] = meaning_of(LESION_NAME if name.lower() == LESION_NAME else name)
    return numbered, segments


def write_stored_label(seg: Path, path: Path, scan: Image) -> None:
    """Write a SEG as NIfTI on the grid of its scan: the number of its segment at each voxel.

    Raises:
        ImageError: not readable, or on another grid.
    """
    labels = read_dicom_seg(seg, scan.grid).labels
    write_nifti(path, labels, scan, np.uint8 if labels.max(initial=0) < 256 else np.uint16, "StrokeLabel")
