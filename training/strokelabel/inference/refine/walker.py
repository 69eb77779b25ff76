"""A random walker with priors: labels that spread where intensities are alike and stop at edges.

Grady, "Multilabel random walker image segmentation using prior models", CVPR 2005: the probability x that a walker
ends at a lesion seed minimises sum_ij w_ij (x_i - x_j)^2 + c sum_i (x_i - p_i)^2 with x fixed at the seeds. One
sparse, positive definite system, solved by conjugate gradients without building its matrix.
"""

from __future__ import annotations

import numpy as np

from strokelabel.types import Volume

_LEAST_WEIGHT = 0.02
"""Weight across the strongest edge, so that noise does not cut voxels off."""

_BEYOND_EDGE = 10.0
_TOLERANCE = 1e-2
_MOST_STEPS = 60


class RandomWalker:
    """Graph of one neighbourhood.

    Args:
        intensity: (x, y, z) float32.
        spacing: voxel size in mm; steps along a long axis count less.
        edge: intensity difference at which the weight falls to exp(-1/2).
        prior_weight: c above.
        fixed: (x, y, z) the value of x where it is given, NaN elsewhere.
    """

    def __init__(
        self, intensity: Volume, spacing: np.ndarray, edge: float, prior_weight: float, fixed: Volume
    ) -> None:
        squares = (spacing / spacing.min()) ** 2
        self._weights = [_weights(intensity, axis, edge) / np.float32(squares[axis]) for axis in range(3)]
        self._prior_weight = np.float32(prior_weight)
        self._fixed, self._free = fixed, np.isnan(fixed)
        self._degree = np.full(intensity.shape, prior_weight, np.float32)
        for axis, weight in enumerate(self._weights):
            self._degree[_but_last(axis)] += weight
            self._degree[_but_first(axis)] += weight

    def solve(self, prior: Volume) -> Volume:
        """Return the probabilities (x, y, z) for a prior (x, y, z)."""
        x = np.where(self._free, prior, self._fixed)
        residual = (self._prior_weight * prior - self._apply(x)) * self._free
        step = residual / self._degree
        direction, size = step.copy(), float((residual * step).sum())
        enough = _TOLERANCE**2 * size
        for _ in range(_MOST_STEPS):
            if size <= enough:
                break
            applied = self._apply(direction) * self._free
            length = np.float32(size / float((direction * applied).sum()))
            x += length * direction
            residual -= length * applied
            step = residual / self._degree
            size, before = float((residual * step).sum()), size
            direction = step + np.float32(size / before) * direction
        return x

    def _apply(self, x: Volume) -> Volume:
        """Return the Laplacian plus c, times x."""
        result = self._degree * x
        for axis, weight in enumerate(self._weights):
            result[_but_last(axis)] -= weight * x[_but_first(axis)]
            result[_but_first(axis)] -= weight * x[_but_last(axis)]
        return result


def _weights(intensity: Volume, axis: int, edge: float) -> Volume:
    """Return the weights between neighbours along an axis, one fewer than voxels."""
    difference = np.minimum(np.abs(np.diff(intensity, axis=axis)) / edge, _BEYOND_EDGE)
    return (np.exp(-0.5 * difference**2) + _LEAST_WEIGHT).astype(np.float32)


def _but_last(axis: int) -> tuple[slice, ...]:
    return tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))


def _but_first(axis: int) -> tuple[slice, ...]:
    return tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
