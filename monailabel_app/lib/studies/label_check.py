"""Check of a submitted label against its scan, before it is stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np

from lib.refusals import InvalidRequestError
from lib.studies.label_files import TISSUE_INFO, named_values, read_label_file
from lib.studies.label_grid import bring_to_grid
from strokelabel.errors import ImageError, UnreadableImageError
from strokelabel.io.checks import check_grid, check_shape
from strokelabel.io.images import Image, read_image
from strokelabel.labels import CLASS_NAMES

_HIGHEST_TISSUE = len(CLASS_NAMES) - 1

_UINT8_MAX = 255


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
        InvalidRequestError: not a label, not on the scan's grid, or with values without a name.
        ImageError: the scan cannot be read.
    """
    like = read_reference(scan, name)
    names = named_values(info)
    file = read_label_file(path, names)
    labels, note = bring_to_grid(file, like)
    if file.names is not None and not names:
        info = {**info, "label_info": [{"name": key, "idx": value} for key, value in file.names.items()]}
        names = file.names
    data, info = _with_known_values(labels, names, info)
    return CheckedLabel(data.astype(np.uint8), like, {**info, "notes": [note]} if note else info)


def read_reference(path: Path, name: str) -> Image:
    """Return the grid and header of a scan, without reading its voxels.

    Raises:
        ImageError: the scan cannot be read.
    """
    if path.is_dir():
        return replace(read_image(path), source=name)
    try:
        image = cast(nib.Nifti1Image, nib.load(path))
        shape = check_shape(image.shape, name)
        affine = np.array(image.affine, dtype=np.float64)
        check_grid(shape, affine, name)
    except ImageError:
        raise
    except Exception as error:  # a parser of files from anywhere fails in any way
        raise UnreadableImageError(f"{name}: expected a readable scan to compare the label with.") from error
    return Image(np.broadcast_to(np.uint8(0), shape), affine, image.header, name)


def _with_known_values(
    labels: np.ndarray, names: dict[str, int], info: dict[str, Any]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return labels whose values are all named, by the client or as the tissue classes, or that are one mask."""
    found = _values(labels)
    meant = sorted(set(names.values())) or list(range(1, _HIGHEST_TISSUE + 1))
    if set(found) <= set(meant) and max(found, default=0) <= _UINT8_MAX:
        if not names and len(found) > 1:
            info = {**info, "label_info": TISSUE_INFO}
        return labels, info
    if len(found) == 1 and found[0] > 0 and len(names) <= 1 and meant[0] <= _UINT8_MAX:  # a mask of 255, say
        return (labels != 0) * (meant[0] if names else 1), info
    shown = ", ".join(map(str, found[:8]))
    known = ", ".join(f"{value} {name}" for name, value in names.items()) or f"0 to {_HIGHEST_TISSUE}"
    raise InvalidRequestError(
        f"label: expected the values of label_info ({known}), at most 255, or one mask, found the values {shown}; "
        "name each value in label_info."
    )


def _values(labels: np.ndarray) -> list[int]:
    """Return the values other than 0, in order. Sorting a whole volume, as numpy does for it, takes seconds."""
    if labels.min() >= 0 and labels.max() <= _UINT8_MAX:
        counts = np.bincount(labels.astype(np.uint8).ravel(order="K"))
        return [int(value) for value in np.flatnonzero(counts) if value > 0]
    return [int(value) for value in np.unique(labels[labels != 0])]
