"""From a submitted label file to the segments of a DICOM SEG, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib.refusals import InvalidRequestError, UnsupportedFileError
from lib.studies.label_files import named_values as values_of_names
from lib.studies.label_files import read_label_file
from lib.studies.label_grid import bring_to_grid
from lib.studies.scan_list import LABEL_SUFFIXES, split_suffix
from strokelabel.io import write_nifti
from strokelabel.io.dicom.segmentation_codes import LESION_NAME, LESION_SEGMENT, SegmentMeaning, meaning_of
from strokelabel.io.dicom.segmentation_reader import read_dicom_seg
from strokelabel.io.images import Image

_BINARY = ".bin"


def read_label(path: Path, scan: Image, info: Mapping[str, Any]) -> tuple[np.ndarray, Mapping[str, Any]]:
    """Read a submitted label on the grid of its scan, and the information about its values.

    Args:
        path: NIfTI, NRRD, or bytes as OHIF sends them (.bin): a voxel each, in the order of the scan.
        scan: the scan.
        info: what came with the label. The segments of a .seg.nrrd get the values that it names.

    Returns:
        The labels (i, j, k), and the info; with the names of a .seg.nrrd's segments where it had none.

    Raises:
        UnsupportedFileError: another kind of file.
        InvalidRequestError: not readable, or on another grid.
    """
    if path.suffix.lower() == _BINARY:
        return _read_bytes(path, scan), info
    if not split_suffix(path.name, LABEL_SUFFIXES)[1]:
        kinds = ", ".join((*LABEL_SUFFIXES, _BINARY))
        raise UnsupportedFileError(f"label: expected a file of a kind in {kinds}, found another.")
    values = values_of_names(info)
    file = read_label_file(path, values)
    labels, _ = bring_to_grid(file, scan)
    if file.names is not None and not values:
        info = {**info, "label_info": [{"name": name, "idx": value} for name, value in file.names.items()]}
    return labels, info


def _read_bytes(path: Path, scan: Image) -> np.ndarray:
    values = np.fromfile(path, np.uint8)
    if values.size != scan.data.size:
        raise InvalidRequestError(
            f"label: expected {scan.data.size} bytes, one for each voxel of {scan.source}, found {values.size}; "
            "export the label on the scan's grid."
        )
    return values.reshape(scan.data.shape, order="F")


def as_segments(
    labels: np.ndarray, info: Mapping[str, Any]
) -> tuple[np.ndarray, Mapping[int, SegmentMeaning]]:
    """Return the labels with the values 1 to n of their segments, and the meaning of each.

    Args:
        labels: (i, j, k) as submitted.
        info: what came with them: viewers send [{"name": "lesion", "idx": 1}, ...] as "label_info", infer tasks
            {"lesion": 1, ...} as "params"/"label_names". Without names everything above zero is lesion.

    Raises:
        InvalidRequestError: a value without name, or names that cannot be used.
    """
    names = named_values(info)
    if not names:
        return (labels > 0).astype(np.uint8), LESION_SEGMENT
    unnamed = sorted(set(np.unique(labels).tolist()) - {0, *names})
    if unnamed or len(names) > 255:
        raise InvalidRequestError(
            f"label: expected values that label_info names, 0 and {sorted(names)}, found {unnamed[:10]} too; "
            "name them."
        )
    numbered = np.zeros(labels.shape, np.uint8)
    segments: dict[int, SegmentMeaning] = {}
    for number, (value, name) in enumerate(sorted(names.items()), start=1):
        numbered[labels == value] = number
        segments[number] = meaning_of(name)
    return numbered, LESION_SEGMENT if segments == LESION_SEGMENT else segments


def named_values(info: Mapping[str, Any]) -> dict[int, str]:
    """Return the name of each value above zero, by the information sent with a label; {} without any.

    Raises:
        InvalidRequestError: a `label_info` of another form.
    """
    params = info.get("params")
    found = params.get("label_names") if isinstance(params, dict) else None
    names: dict[Any, Any] = (
        {value: name for name, value in (found or {}).items()} if isinstance(found, dict) else {}
    )
    try:
        names.update({e.get("idx", e.get("id")): e["name"] for e in info.get("label_info") or []})
        named = {int(value): str(name).strip() for value, name in names.items() if value is not None}
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InvalidRequestError(
            "label_info: expected a list of objects with a name and an idx, found something else."
        ) from error
    return {
        value: LESION_NAME if name.lower() == LESION_NAME else name
        for value, name in named.items()
        if value > 0 and name
    }


def write_stored_label(seg: Path, path: Path, scan: Image) -> None:
    """Write a SEG as NIfTI on the grid of its scan: the number of its segment at each voxel.

    Raises:
        ImageError: not readable, or on another grid.
    """
    labels = read_dicom_seg(seg, scan.grid).labels
    write_nifti(path, labels, scan, np.uint8 if labels.max(initial=0) < 256 else np.uint16, "StrokeLabel")
