"""The midsagittal plane of a head, and masks reflected at it.

The plane is the one at which a head is most similar to its own mirror image (Ardekani et al., "Automatic detection of
the mid-sagittal plane in 3-D brain images", IEEE Transactions on Medical Imaging 1997), here by overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from strokelabel.types import Mask

_SAMPLED_VOXELS = 3000
_SMOOTHING_VOXELS = 1.0
_MOST_EVALUATIONS = 120
_FIRST_STEPS = ((0.0, 0.0, 0.0), (0.15, 0.0, 0.0), (0.0, 0.15, 0.0), (0.0, 0.0, 2.0))
"""The first simplex: slopes towards y and z, and a shift in voxels."""


@dataclass(frozen=True, eq=False)
class Plane:
    """The points x, in voxels, with `normal @ x == offset`.

    Attributes:
        normal: unit vector (3,), near the first axis.
        offset: distance from voxel 0, in voxels.
    """

    normal: np.ndarray
    offset: float

    def reflect(self, points: np.ndarray) -> np.ndarray:
        """Mirror images of points (n, 3)."""
        return points - 2 * (points @ self.normal - self.offset)[:, None] * self.normal


def midsagittal_plane(head: Mask) -> Plane:
    """The plane at which a mask is most symmetric.

    Deterministic. Found from a start in the middle of the mask, across the first axis, up to some 30 degrees away.

    Args:
        head: (x, y, z), first axis to the right; not empty.
    """
    voxels = np.argwhere(head)
    center = voxels.mean(axis=0)
    points = voxels[:: max(1, len(voxels) // _SAMPLED_VOXELS)].astype(np.float64)
    soft = ndimage.gaussian_filter(head.astype(np.float32), _SMOOTHING_VOXELS)

    def plane(parameters: np.ndarray) -> Plane:
        normal = np.array([1.0, parameters[0], parameters[1]])
        normal /= np.linalg.norm(normal)
        return Plane(normal, float(normal @ center + parameters[2]))

    def missed(parameters: np.ndarray) -> float:
        images = plane(parameters).reflect(points)
        return -float(ndimage.map_coordinates(soft, images.T, order=1).mean())

    simplex = np.array(_FIRST_STEPS)
    options = {"initial_simplex": simplex, "maxfev": _MOST_EVALUATIONS, "xatol": 1e-2, "fatol": 1e-4}
    return plane(optimize.minimize(missed, simplex[0], method="Nelder-Mead", options=options).x)


def mirrored(mask: Mask, plane: Plane) -> Mask:
    """A (x, y, z) mask reflected at a plane; what comes to lie outside the grid is lost."""
    matrix = np.eye(3) - 2 * np.outer(plane.normal, plane.normal)
    shift = 2 * plane.offset * plane.normal
    return ndimage.affine_transform(mask.astype(np.float32), matrix, shift, order=1) > 0.5
