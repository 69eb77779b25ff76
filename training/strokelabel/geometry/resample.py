"""Separable linear resampling: one small matrix of weights per axis.

A grid change without rotation factors into three one-dimensional ones, and each of them is a matrix product,
which is several times faster than interpolating every voxel in three dimensions.
"""

from __future__ import annotations

import numpy as np

_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


def linear_weights(positions: np.ndarray, size: int) -> np.ndarray:
    """Matrix (len(positions), size) that samples `size` voxels at fractional `positions`, linearly.

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
    """Matrix (size, size) of the Gaussian to apply before spacing grows by `ratio` > 1.

    Its width widens a point spread function of one source voxel (FWHM) to one target voxel: Cardoso et al. 2015,
    "Scale factor point spread function matching: beyond aliasing in image resampling", equation 5. Edge voxels
    are repeated outside.
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
    """Multiply one axis of a (x, y, z) float32 volume by a (new size, old size) matrix."""
    matrix = weights.astype(np.float32)
    if axis == 0:
        flat = matrix @ volume.reshape(volume.shape[0], -1)
        return flat.reshape(len(matrix), *volume.shape[1:])
    if axis == 1:
        return np.matmul(matrix, volume)
    return np.matmul(volume, matrix.T)


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
