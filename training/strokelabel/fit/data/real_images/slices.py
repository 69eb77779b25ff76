"""Real slices with lesion masks, and small computations on one image of two or three axes, on any device."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.io.atomic import atomic_path
from strokelabel.io.slice_files import View, known_view, read_slices
from strokelabel.synthesis.prepared.source_files import fingerprint

_MAX_SAMPLES = 40_000
"""Quantiles come from at most about this many voxels."""


def box_mean(image: Tensor, size: int = 3) -> Tensor:
    """Return the mean over `size` voxels along each axis of an image (x, y) or (x, y, z); zeros lie beyond
    its borders.
    """
    pool = F.avg_pool2d if image.ndim == 2 else F.avg_pool3d
    # Padded beforehand, since pooling refuses an image smaller than its window.
    padded = F.pad(image, (size // 2,) * (2 * image.ndim))
    return pool(padded[None, None], size, 1)[0, 0]


def smooth_field(controls: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate control values linearly.

    Args:
        controls: (kx, ky) or (kx, ky, kz), spread from the first voxel to the last.
        shape: voxels of the field, as many axes.
    """
    mode = "bilinear" if controls.ndim == 2 else "trilinear"
    return F.interpolate(controls[None, None], size=tuple(shape), mode=mode, align_corners=True)[0, 0]


def nonzero_quantiles(image: Tensor, fractions: Tensor) -> Tensor:
    """Return the quantiles of the voxels that are not zero.

    Args:
        image: at least 0.
        fractions: (n,) in [0, 1], on the image's device.

    Returns:
        (n,): the nearest values from below; zeros where the image has nothing else.
    """
    values = image.flatten()
    values = values[:: max(1, values.numel() // _MAX_SAMPLES)].sort().values
    zeros = (values == 0).sum()
    rank = zeros + fractions * (len(values) - 1 - zeros).clamp_min(0)
    return values[rank.long().clamp(0, len(values) - 1)]


def masked_mean(image: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of an image weighted by another, a scalar; 0 where there is no weight."""
    return (image * weight).sum() / weight.sum().clamp_min(1e-6)


SOURCE_MM = 1.0
"""Pixels of the files that slices are read from."""

PIXEL_MM = 4 / 3
"""Pixels of prepared slices: three quarters of the size."""

FORMAT_VERSION = 1
"""Version of the stored slices; those of another version are prepared again."""

_AIR = 4
"""Grey values below it, of 255, are air: the pictures had been compressed."""


@dataclass(frozen=True)
class RealSlices:
    """Slices of one view.

    Attributes:
        view: their plane.
        subject: (n,) whom each is of.
        image: (n, rows, columns) uint8, air 0, pixels of `PIXEL_MM`; axes as in `io.slice_files.PLANES`.
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
        source: see `io.slice_files.read_slices`; pixels of 1 mm.
        target: .npz to write.

    Raises:
        DataError: the source is not such a file.
        OutputError: the target cannot be written.
    """
    sha256 = fingerprint(source, str(FORMAT_VERSION))
    if slices_sha256(target) == sha256:
        return
    slices = read_slices(source)
    small = _shrink(slices.image).round().clamp(0, 255).to(torch.uint8)
    small[small < _AIR] = 0
    mask = _shrink(slices.lesion.astype(np.uint8)) > 0.5
    with atomic_path(target) as temporary:
        np.savez_compressed(
            temporary,
            view=np.array(slices.view),
            sha256=np.array(sha256),
            subject=slices.subject,
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
            view = known_view(str(stored["view"]))
            return RealSlices(view, stored["subject"], torch.from_numpy(image), torch.from_numpy(lesion))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: expected prepared slices, which could not be read ({error}); run `strokelabel prepare` again"
        ) from error


def slices_sha256(path: Path) -> str | None:
    """Return the fingerprint of the source that prepared slices were made from; None if there are none."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return str(stored["sha256"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _shrink(stack: NDArray[np.uint8]) -> Tensor:
    """Shrink slices (n, rows, columns) to three quarters of their size, antialiased, float32."""
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
