"""Voxel grids in space, and resampling from one to another."""

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


_BLOCK_ROWS = 16
"""Rows of a matrix applied at once: 16 measured fastest at 256 voxels per axis, 4 times the whole matrix."""

_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


def linear_weights(positions: np.ndarray, size: int) -> np.ndarray:
    """Return the matrix (len(positions), size) that samples `size` voxels at fractional `positions`, linearly.

    Positions outside the voxels take the value of the nearest edge voxel. Rows sum to one.
    """
    clamped = np.clip(positions, 0, size - 1)
    lower = np.minimum(np.floor(clamped).astype(int), max(size - 2, 0))
    fraction = clamped - lower
    weights = np.zeros((len(positions), size))
    rows = np.arange(len(positions))
    weights[rows, lower] = 1.0 - fraction
    weights[rows, np.minimum(lower + 1, size - 1)] += fraction
    return weights


def antialias_weights(size: int, ratio: float) -> np.ndarray:
    """Return the matrix (size, size) of the Gaussian to apply before spacing grows by `ratio` > 1.

    It widens a point spread function of one source voxel (full width at half maximum) to one target voxel:
    Cardoso et al. 2015, "Scale factor point spread function matching: beyond aliasing in image resampling".
    Edge voxels are repeated outside.
    """
    sigma = np.sqrt(max(ratio**2 - 1.0, 0.0)) / _FWHM_PER_SIGMA
    if sigma < 1e-3:
        return np.eye(size)
    radius = int(np.ceil(4.0 * sigma))
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    weights = np.zeros((size, size))
    rows = np.arange(size)
    for offset, weight in zip(offsets, kernel, strict=True):
        np.add.at(weights, (rows, np.clip(rows + offset, 0, size - 1)), weight)
    return weights


def apply_weights(volume: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    """Multiply one axis of a (x, y, z) float32 volume by a (new size, old size) matrix.

    The matrix is all but empty away from a diagonal, so it is applied in blocks of rows.
    """
    size = len(weights)
    result = np.empty((*volume.shape[:axis], size, *volume.shape[axis + 1 :]), dtype=np.float32)
    outputs, inputs = _as_matrices(result, axis), _as_matrices(volume, axis)
    for start in range(0, size, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        used = np.flatnonzero(weights[rows].any(axis=0))
        columns = slice(used[0], used[-1] + 1)
        block = np.ascontiguousarray(weights[rows, columns], dtype=np.float32)
        if axis == 2:  # the axis is last in memory, so the matrix multiplies from the right
            np.matmul(inputs[..., columns], block.T, out=outputs[..., rows])
        else:
            np.matmul(block, inputs[..., columns, :], out=outputs[..., rows, :])
    return result


def _as_matrices(volume: np.ndarray, axis: int) -> np.ndarray:
    """Return a view of a (x, y, z) volume so that a matrix product runs over the axis without copying."""
    if axis == 0:
        return volume.reshape(volume.shape[0], -1)
    return volume if axis == 1 else volume.reshape(-1, volume.shape[2])


def resample(volume: np.ndarray, weights: tuple[np.ndarray | None, ...]) -> np.ndarray:
    """Apply one matrix per axis to a (x, y, z) float32 volume; None leaves an axis as it is.

    Axes that shrink go first, so that the others have less to do.
    """

    def growth(axis: int) -> float:
        matrix = weights[axis]
        return 1.0 if matrix is None else matrix.shape[0] / matrix.shape[1]

    result = np.array(volume, dtype=np.float32, order="C")  # a copy: results never alias the input
    for axis in sorted(range(3), key=growth):
        matrix = weights[axis]
        if matrix is not None:
            result = apply_weights(result, matrix, axis)
    return result
