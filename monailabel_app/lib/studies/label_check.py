"""Check of a submitted label against its scan, before it is stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np

from lib.studies.label_files import read_label_file
from lib.studies.label_grid import bring_to_grid
from lib.studies.label_meaning import classes_of, with_meaning
from strokelabel.errors import ImageError, UnreadableImageError
from strokelabel.io.checks import check_grid, check_shape
from strokelabel.io.images import Image, read_image


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
