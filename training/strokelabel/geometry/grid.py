"""A voxel grid in space: the shape and affine that every image of a scan shares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np

from strokelabel.errors import DimensionError, HeaderError
from strokelabel.types import Affine

_SMALLEST_AXIS_DETERMINANT = 0.01
"""Determinant of the unit axis directions below which they count as one plane (sheared scans: above 0.5)."""

_BEYOND_MM = 1e9
"""Entries of an affine from here on count as infinite: a thousand kilometres."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From the world of DICOM, ITK and NRRD (left, posterior, superior) to that of NIfTI, in mm; and back."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel grid of an image.

    Attributes:
        shape: number of voxels along i, j, k.
        affine: (4, 4) voxel index to world coordinates in mm, RAS+; read-only float64.

    Raises:
        DimensionError: not three axes of at least one voxel.
        HeaderError: the affine is not a finite, invertible (4, 4) matrix with last row 0 0 0 1.
    """

    shape: tuple[int, int, int]
    affine: Affine

    def __post_init__(self) -> None:
        shape = tuple(int(size) for size in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise DimensionError(
                f"Expected three axes of at least one voxel, found shape {shape}; pass one 3-D volume."
            )
        affine = np.array(self.affine, dtype=np.float64)
        _check_affine(affine)
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring voxel centres along i, j, k."""
        i, j, k = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(i), float(j), float(k)

    @property
    def axis_codes(self) -> tuple[str, str, str]:
        """Closest anatomical direction of i, j, k, such as ("R", "A", "S")."""
        return nib.orientations.aff2axcodes(self.affine)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres (true for sheared grids too)."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def to_world(self, indices: np.ndarray) -> np.ndarray:
        """Return the world coordinates in mm (..., 3) of voxel indices (..., 3), which may be fractional."""
        return np.asarray(indices) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_voxel(self, points_mm: np.ndarray) -> np.ndarray:
        """Return the fractional voxel indices (..., 3) of world coordinates in mm (..., 3)."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(points_mm) @ inverse[:3, :3].T + inverse[:3, 3]

    def corners_mm(self) -> np.ndarray:
        """Return the world coordinates (8, 3) in mm of the centres of the eight corner voxels."""
        indices = np.stack(np.meshgrid(*[(0, size - 1) for size in self.shape], indexing="ij"), axis=-1)
        return self.to_world(indices.reshape(-1, 3))

    def window(self, start: tuple[int, int, int], shape: tuple[int, int, int]) -> Grid:
        """Return the grid of `shape` voxels whose first voxel is this grid's `start`, which may lie outside."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(np.asarray(start))
        return Grid(shape, affine)


def _check_affine(affine: np.ndarray) -> None:
    advice = "repair the header's sform/qform, or convert the scan from DICOM again"
    if affine.shape != (4, 4):
        raise HeaderError(f"Expected an affine of shape (4, 4), found {affine.shape}; {advice}.")
    if not (np.abs(affine) < _BEYOND_MM).all():  # also false for NaN
        raise HeaderError(
            f"Expected a finite affine, found NaN or infinite entries {affine.tolist()}; {advice}."
        )
    if not np.allclose(affine[3], (0, 0, 0, 1)):
        raise HeaderError(f"Expected an affine with last row 0 0 0 1, found {affine[3].tolist()}; {advice}.")
    lengths = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if lengths.min() == 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < _SMALLEST_AXIS_DETERMINANT:
        raise HeaderError(
            f"Expected an affine with three independent axes, found {affine[:3].tolist()}; {advice}."
        )
