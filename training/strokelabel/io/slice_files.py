"""Files of two-dimensional scans with lesion masks: many patients, one slice of each."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from strokelabel.errors import DataError

View = Literal["axial", "coronal", "sagittal"]

PLANES: Final[dict[View, tuple[int, int]]] = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
"""Axes (0 to the right, 1 to the front, 2 to the top) along the rows and columns of a slice."""


@dataclass(frozen=True, eq=False)
class SliceFile:
    """Slices of one view, with pixels of 1 mm.

    Attributes:
        view: their plane; `PLANES` has its axes.
        subject: (n,) number of the patient of each slice.
        image: (n, rows, columns) uint8, air 0.
        lesion: (n, rows, columns) bool.
    """

    view: View
    subject: NDArray[np.int32]
    image: NDArray[np.uint8]
    lesion: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.subject)


def read_slices(path: Path) -> SliceFile:
    """Read a file of slices.

    Args:
        path: .npz with `subject` (n,), `image` (n, rows, columns) uint8, and `lesion`, the masks with their last axis
            packed into bits. Its name ends with the view: `..._axial.npz`.

    Raises:
        DataError: the file is not one of slices.
    """
    view = _view_of(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            subject, image, packed = (stored[name] for name in ("subject", "image", "lesion"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"expected slices (.npz with subject, image and lesion), which could not be read ({error})",
            source=path,
        ) from error
    width = -(-image.shape[-1] // 8) if image.ndim == 3 else 0
    fits = packed.shape == (*image.shape[:2], width) and subject.shape == image.shape[:1]
    if image.dtype != np.uint8 or packed.dtype != np.uint8 or not fits:
        raise DataError(
            f"expected an image (n, rows, columns) of uint8, a lesion (n, rows, columns / 8) of packed bits "
            f"and n subjects, found {image.dtype} {image.shape}, {packed.shape} and {subject.shape}",
            source=path,
        )
    lesion = np.unpackbits(packed, axis=-1, count=image.shape[-1]).astype(bool)
    return SliceFile(view, subject.astype(np.int32), image, lesion)


def known_view(name: str) -> View:
    """Return the view of a name.

    Raises:
        ValueError: there is no such view.
    """
    for view in get_args(View):
        if name == view:
            return view  # type: ignore[no-any-return]
    raise ValueError(f"expected one of the views {', '.join(get_args(View))}, found {name!r}")


def _view_of(path: Path) -> View:
    try:
        return known_view(path.stem.rsplit("_", 1)[-1])
    except ValueError as error:
        raise DataError(f"{error}, as the end of its name (..._axial.npz)", source=path) from error
