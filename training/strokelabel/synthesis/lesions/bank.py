"""Bank of lesion masks, and small lesions that are put somewhere else than their patient had them."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelabel.errors import DataError
from strokelabel.io.atomic import atomic_path
from strokelabel.synthesis.fields import evaluate_fields, sample_nodes
from strokelabel.synthesis.lesions.stage import Penumbra
from strokelabel.synthesis.sampling import Sampler
from strokelabel.types import Affine


@dataclass(frozen=True)
class Lesion:
    """One lesion of a bank.

    Attributes:
        name: unique in its bank.
        source: the data set it comes from.
        sha256: of the file it was read from.
        offset: index on the ICBM grid of the crop's first voxel (x, y, z).
        mask: the lesion inside its bounding box, (x, y, z).
    """

    name: str
    source: str
    sha256: str
    offset: tuple[int, int, int]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class LesionBank:
    """Lesions in ICBM space.

    Attributes:
        names, sources, sha256: one entry per lesion.
        offsets: (n, 3) first voxel of each crop on the grid.
        shapes: (n, 3) voxels of each crop.
        volumes_ml: (n,) millilitres.
        pointers: (n + 1,) where each lesion's bytes start in `bits`.
        bits: the crops' voxels in C order, eight a byte, each crop from a new byte.
        grid_shape: voxels of the ICBM grid.
        affine: index on that grid to ICBM RAS mm.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    sha256: tuple[str, ...]
    offsets: NDArray[np.int32]
    shapes: NDArray[np.int32]
    volumes_ml: NDArray[np.float64]
    pointers: NDArray[np.int64]
    bits: NDArray[np.uint8]
    grid_shape: tuple[int, int, int]
    affine: Affine

    @classmethod
    def from_lesions(
        cls, lesions: Sequence[Lesion], grid_shape: tuple[int, int, int], affine: Affine
    ) -> LesionBank:
        """Pack lesions on a grid with this shape and affine."""
        packed = [np.packbits(lesion.mask) for lesion in lesions]
        voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000.0
        return cls(
            names=tuple(lesion.name for lesion in lesions),
            sources=tuple(lesion.source for lesion in lesions),
            sha256=tuple(lesion.sha256 for lesion in lesions),
            offsets=np.array([lesion.offset for lesion in lesions], dtype=np.int32).reshape(-1, 3),
            shapes=np.array([lesion.mask.shape for lesion in lesions], dtype=np.int32).reshape(-1, 3),
            volumes_ml=np.array([lesion.mask.sum() * voxel_ml for lesion in lesions], dtype=np.float64),
            pointers=np.cumsum([0, *(len(bits) for bits in packed)], dtype=np.int64),
            bits=np.concatenate([np.zeros(0, np.uint8), *packed]),
            grid_shape=grid_shape,
            affine=np.asarray(affine, dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.names)

    def offset(self, index: int) -> tuple[int, int, int]:
        """Return the first voxel (x, y, z) of a lesion's crop on the ICBM grid."""
        x, y, z = (int(value) for value in self.offsets[index])
        return x, y, z

    def crop(self, index: int) -> NDArray[np.bool_]:
        """Return a lesion inside its bounding box, (x, y, z)."""
        index = range(len(self))[index]
        shape = tuple(int(side) for side in self.shapes[index])
        packed = self.bits[self.pointers[index] : self.pointers[index + 1]]
        return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).astype(bool)

    def lesion(self, index: int) -> Lesion:
        """Return one lesion of the bank."""
        return Lesion(
            self.names[index], self.sources[index], self.sha256[index], self.offset(index), self.crop(index)
        )

    def subset(self, indices: Sequence[int]) -> LesionBank:
        """Return a bank of the lesions at these positions, in this order."""
        return self.from_lesions([self.lesion(int(index)) for index in indices], self.grid_shape, self.affine)

    def save(self, path: Path) -> None:
        """Write the bank as a compressed .npz, atomically."""
        with atomic_path(path) as temporary:
            np.savez_compressed(
                temporary,
                names=np.array(self.names, dtype=np.str_),
                sources=np.array(self.sources, dtype=np.str_),
                sha256=np.array(self.sha256, dtype=np.str_),
                offsets=self.offsets,
                shapes=self.shapes,
                volumes_ml=self.volumes_ml,
                pointers=self.pointers,
                bits=self.bits,
                grid_shape=np.array(self.grid_shape, dtype=np.int32),
                affine=self.affine,
            )

    @classmethod
    def load(cls, path: Path) -> LesionBank:
        """Read a bank.

        Raises:
            DataError: the file is missing, damaged or not a lesion bank.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                x, y, z = stored["grid_shape"].tolist()
                return cls(
                    names=tuple(stored["names"].tolist()),
                    sources=tuple(stored["sources"].tolist()),
                    sha256=tuple(stored["sha256"].tolist()),
                    offsets=stored["offsets"],
                    shapes=stored["shapes"],
                    volumes_ml=stored["volumes_ml"],
                    pointers=stored["pointers"],
                    bits=stored["bits"],
                    grid_shape=(x, y, z),
                    affine=stored["affine"],
                )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path}: expected a lesion bank, which could not be read ({error}); run `strokelabel prepare` again"
            ) from error


BLOB = -1
"""Index of a lesion that is not a mask of the bank."""


@dataclass(frozen=True)
class Fragment:
    """A small lesion at a given place.

    Attributes:
        index: mask of the bank, or `BLOB`.
        blob_seed: seed of a blob's shape; unused for masks.
        volume_ml: volume of a blob; unused for masks.
        mirror: turn the mask left to right.
        center_mm: ICBM position of the centre of its bounding box.
        blur_sigma_voxels: softness of its edge, in voxels of the bank (1 mm).
        penumbra: how it fades within itself.
    """

    index: int
    blob_seed: int
    volume_ml: float
    mirror: bool
    center_mm: tuple[float, float, float]
    blur_sigma_voxels: float
    penumbra: Penumbra


def fragment_mask(fragment: Fragment, bank: LesionBank) -> Tensor:
    """Return the lesion in its bounding box, (x, y, z) bool, on the CPU."""
    if fragment.index == BLOB:
        voxel_ml = abs(float(np.linalg.det(bank.affine[:3, :3]))) / 1000
        return blob(fragment.blob_seed, max(1, round(fragment.volume_ml / voxel_ml)))
    mask = torch.from_numpy(bank.crop(fragment.index))
    return mask.flip(0) if fragment.mirror else mask


def fragment_start(fragment: Fragment, bank: LesionBank, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the first voxel, on the bank's grid, of a box of this shape around the fragment's centre."""
    center = np.linalg.solve(bank.affine, np.array([*fragment.center_mm, 1.0]))[:3]
    x, y, z = (round(float(c) - (n - 1) / 2) for c, n in zip(center, shape, strict=True))
    return x, y, z


def blob(seed: int, voxels: int) -> Tensor:
    """Return a random rounded shape with exactly this many voxels, mostly in one piece.

    A level set of a smooth random field on an ellipsoid of random axes.

    Args:
        seed: of the shape.
        voxels: volume, at least 1.

    Returns:
        (x, y, z) bool, with no empty border that matters.
    """
    sampler = Sampler(seed)
    axes = torch.exp(sampler.uniform_tensor((3,), -0.35, 0.35))
    axes = axes / axes.prod() ** (1 / 3)
    radius = (3 * voxels / (4 * math.pi)) ** (1 / 3)
    x, y, z = (2 * math.ceil(1.5 * radius * float(a)) + 1 for a in axes)
    shape = (x, y, z)
    grids = [torch.linspace(-1, 1, n) * 1.5 for n in shape]
    distance = torch.stack(torch.meshgrid(*grids, indexing="ij")).square().sum(dim=0).sqrt()
    noise = evaluate_fields([sample_nodes(sampler, (4, 5))], shape, torch.device("cpu"))[0, 0]
    level = (distance - 0.45 * noise).flatten()
    chosen = torch.topk(level, min(voxels, level.numel()), largest=False).indices
    mask = torch.zeros(level.numel(), dtype=torch.bool)
    mask[chosen] = True
    return mask.view(shape)
