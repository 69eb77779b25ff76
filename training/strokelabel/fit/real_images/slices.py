"""Real slices with lesion masks, made ready for training."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.fit.real_images.config import View
from strokelabel.io.atomic import atomic_path
from strokelabel.synthesis.sources import fingerprint

SOURCE_MM = 1.0
"""Pixels of the files that slices are read from."""

PIXEL_MM = 4 / 3
"""Pixels of prepared slices: three quarters of the size."""

FORMAT_VERSION = 1
"""Version of the stored slices; those of another version are made anew."""

_AIR = 4
"""Grey values below it, of 255, are air: the pictures had been compressed."""

PLANES: dict[View, tuple[int, int]] = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}
"""Axes (x to the right, y to the front, z to the top) along the rows and columns of a slice."""


@dataclass(frozen=True)
class RealSlices:
    """Slices of one view.

    Attributes:
        view: their plane.
        subject: (n,) whom each is of.
        image: (n, rows, columns) uint8, air 0, pixels of `PIXEL_MM`; axes as in `PLANES`.
        lesion: (n, rows, columns) bool.
    """

    view: View
    subject: NDArray[np.int32]
    image: Tensor
    lesion: Tensor

    def __len__(self) -> int:
        return len(self.image)

    @property
    def lesion_mm2(self) -> NDArray[np.float64]:
        """Area of the lesion in each slice."""
        return self.lesion.flatten(1).sum(dim=1).double().numpy() * PIXEL_MM**2


def prepare_slices(source: Path, target: Path) -> None:
    """Write the slices of a file at three quarters of their size; a target of the same source is left as it is.

    Args:
        source: .npz with `subject` (n,), `image` (n, rows, columns) uint8 of 1 mm, and `lesion`, the masks with their
            last axis packed into bits. Its name ends with the view: `..._axial.npz`.
        target: .npz to write.

    Raises:
        DataError: the source is not such a file.
        OutputError: the target cannot be written.
    """
    sha256 = fingerprint(source, str(FORMAT_VERSION))
    if slices_sha256(target) == sha256:
        return
    view = _view_of(source)
    subject, image, lesion = _read_source(source)
    small = _shrink(image).round().clamp(0, 255).to(torch.uint8)
    small[small < _AIR] = 0
    mask = _shrink(lesion) > 0.5
    with atomic_path(target) as temporary:
        np.savez_compressed(
            temporary,
            view=np.array(view),
            sha256=np.array(sha256),
            subject=subject,
            image=small.numpy(),
            lesion=np.packbits(mask.numpy(), axis=-1),
        )


def load_slices(path: Path) -> RealSlices:
    """Read prepared slices.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            image = stored["image"]
            lesion = np.unpackbits(stored["lesion"], axis=-1, count=image.shape[-1]).astype(bool)
            view = _known_view(str(stored["view"]))
            return RealSlices(view, stored["subject"], torch.from_numpy(image), torch.from_numpy(lesion))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: expected prepared slices, which could not be read ({error}); run `strokelabel prepare` again"
        ) from error


def slices_sha256(path: Path) -> str | None:
    """Fingerprint of the source that prepared slices were made from; None if there are none."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return str(stored["sha256"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _view_of(source: Path) -> View:
    try:
        return _known_view(source.stem.rsplit("_", 1)[-1])
    except ValueError as error:
        raise DataError(f"{source}: {error}, as the end of its name (..._axial.npz)") from error


def _known_view(name: str) -> View:
    for view in get_args(View):
        if name == view:
            return view  # type: ignore[no-any-return]
    raise ValueError(f"expected one of the views {', '.join(get_args(View))}")


def _read_source(source: Path) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Subjects, images and unpacked masks of a file."""
    try:
        with np.load(source, allow_pickle=False) as stored:
            subject, image, packed = (stored[name] for name in ("subject", "image", "lesion"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{source}: expected slices (.npz with subject, image and lesion), which could not be read ({error})"
        ) from error
    width = -(-image.shape[-1] // 8) if image.ndim == 3 else 0
    if image.dtype != np.uint8 or packed.shape != (*image.shape[:2], width) or len(subject) != len(image):
        raise DataError(
            f"{source}: expected an image (n, rows, columns) of uint8, a lesion (n, rows, columns / 8) of packed bits "
            f"and n subjects, found {image.dtype} {image.shape}, {packed.shape} and {len(subject)}"
        )
    return subject.astype(np.int32), image, np.unpackbits(packed, axis=-1, count=image.shape[-1])


def _shrink(stack: NDArray[np.uint8]) -> Tensor:
    """(n, rows, columns) at three quarters of its size, antialiased, float32."""
    rows, columns = (round(side * SOURCE_MM / PIXEL_MM) for side in stack.shape[1:])
    parts = [
        F.interpolate(
            torch.from_numpy(part).float()[:, None],
            size=(rows, columns),
            mode="bilinear",
            antialias=True,
            align_corners=False,
        )[:, 0]
        for part in np.array_split(stack, max(1, len(stack) // 256))
    ]
    return torch.cat(parts)
