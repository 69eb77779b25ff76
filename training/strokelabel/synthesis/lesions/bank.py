"""Lesion bank: binary lesions on the ICBM 1 mm grid, each cropped to its bounding box, one bit a voxel."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strokelabel.errors import DataError
from strokelabel.io.atomic import atomic_path
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
