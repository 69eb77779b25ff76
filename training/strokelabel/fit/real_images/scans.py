"""Real scans on the training grid, as they are stored."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.io.atomic import atomic_path
from strokelabel.types import Affine

SPACING_MM = 1.5
"""Voxel size of prepared scans."""

SHAPE = (128, 160, 128)
"""Voxels (x, y, z) of prepared scans; the brain is in the middle."""


@dataclass(frozen=True)
class PreparedScan:
    """A scan on a grid of `SHAPE` voxels of `SPACING_MM`, axes to the right, front and top.

    Attributes:
        name: unique in its folder.
        image: (x, y, z) uint8, air 0; brain tissue rarely above 204, so that fat may be brighter.
        brain: (x, y, z) bool.
        lesion: (x, y, z) bool; all false for a scan without a stroke.
        has_lesion: whether a lesion mask came with it.
        to_icbm: (4, 4) from mm about the grid's centre to ICBM mm.
    """

    name: str
    image: Tensor
    brain: Tensor
    lesion: Tensor
    has_lesion: bool
    to_icbm: Affine


def save_scan(
    path: Path,
    sha256: str,
    image: NDArray[np.uint8],
    brain: NDArray[np.bool_],
    lesion: NDArray[np.bool_] | None,
    to_icbm: Affine,
    similarity: float,
) -> None:
    """Write a prepared scan, atomically.

    Args:
        path: .npz to write.
        sha256: fingerprint of what it was made from.
        image, brain, lesion: (x, y, z); None for a scan without a stroke.
        to_icbm: see `PreparedScan`.
        similarity: how well brain and template agree (`synthesis.registration.Registration`).
    """
    mask = np.zeros_like(brain) if lesion is None else lesion
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            sha256=np.array(sha256),
            image=image,
            brain=np.packbits(brain, axis=-1),
            lesion=np.packbits(mask, axis=-1),
            has_lesion=np.array(lesion is not None),
            to_icbm=to_icbm,
            similarity=np.array(similarity),
        )


def load_scan(path: Path) -> PreparedScan:
    """Read a prepared scan.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            image = stored["image"]
            brain, lesion = (
                np.unpackbits(stored[name], axis=-1, count=image.shape[-1]).astype(bool)
                for name in ("brain", "lesion")
            )
            return PreparedScan(
                name=path.stem,
                image=torch.from_numpy(image),
                brain=torch.from_numpy(brain),
                lesion=torch.from_numpy(lesion),
                has_lesion=bool(stored["has_lesion"]),
                to_icbm=stored["to_icbm"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: expected a prepared scan, which could not be read ({error}); run `strokelabel prepare` again"
        ) from error


def stored_scan(path: Path) -> tuple[str, float] | None:
    """Fingerprint and similarity of a prepared scan; None if there is none."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return str(stored["sha256"]), float(stored["similarity"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
