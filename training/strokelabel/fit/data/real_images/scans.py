"""Real scans on the training grid, and the prepared folder that they and real slices are read from."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.fit.data.real_images.slices import RealSlices, load_slices
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
    """Return the fingerprint and similarity of a prepared scan; None if there is none."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return str(stored["sha256"]), float(stored["similarity"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


FOLDER = "real-images"
"""Name of the folder inside a prepared folder."""

DESCRIPTION = "dataset.json"
"""Name of the file in it that lists slices and scans."""


@dataclass(frozen=True)
class RealImages:
    """Real images of a prepared folder, in memory.

    Attributes:
        slices: one entry for each file of slices.
        scans: by name.
        digest: SHA-256 over all sources; it changes when the data does. Empty where there are none.
    """

    slices: tuple[RealSlices, ...]
    scans: tuple[PreparedScan, ...]
    digest: str

    @classmethod
    def load(cls, prepared: Path) -> RealImages:
        """Read the real images of a prepared folder; none if it was prepared without.

        Raises:
            DataError: a part of them is missing or damaged.
        """
        folder = Path(prepared) / FOLDER
        content = describe(folder)
        if content is None:
            return cls((), (), "")
        slices = tuple(load_slices(folder / "slices" / f"{name}.npz") for name in content["slices"])
        scans = tuple(load_scan(folder / "scans" / f"{name}.npz") for name in content["scans"])
        return cls(slices, scans, content["digest"])


def describe(folder: Path) -> dict[str, Any] | None:
    """Return the description of real images; None where there are none.

    Raises:
        DataError: it is damaged.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            "slices": [str(name) for name in content["slices"]],
            "scans": [str(name) for name in content["scans"]],
            "digest": str(content["digest"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected a list of prepared slices and scans, which could not be read ({error}); delete it and "
            "run `strokelabel prepare` again"
        ) from error
