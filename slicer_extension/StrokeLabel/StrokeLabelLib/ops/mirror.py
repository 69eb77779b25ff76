"""Comparison with the other hemisphere."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, optimize

from ..volume import Volume

COARSE_MM = 6.0
"""Voxel size for the search of the plane between the hemispheres."""


def mirror_plane(volume: Volume) -> tuple[np.ndarray, float]:
    """Return the plane about which a head is most symmetric.

    The mirror image is compared by correlation while the plane turns about the vertical and the front-to-back axis
    and moves sideways, from the sagittal plane through the middle of the head.

    Returns:
        Unit normal (RAS), and the plane's distance from the origin along it in mm.
    """
    coarse = _coarse(volume)
    data = coarse.data.astype(np.float32)
    weight = data - float(data.min())
    points = _points(coarse)
    middle = (points * weight.ravel()[:, None]).sum(axis=0) / max(float(weight.sum()), 1e-6)

    def asymmetry_of(plane: np.ndarray) -> float:
        normal, distance = _plane(plane, middle)
        mirrored = _sample(coarse, _reflect(points, normal, distance)).reshape(data.shape)
        return -float(np.corrcoef(data.ravel(), mirrored.ravel())[0, 1])

    steps = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 5.0]])
    found = optimize.minimize(
        asymmetry_of,
        np.zeros(3),
        method="Nelder-Mead",
        options={"initial_simplex": steps, "maxiter": 80, "xatol": 0.01},
    )
    return _plane(found.x, middle)


def mirrored(volume: Volume, normal: np.ndarray, distance_mm: float) -> np.ndarray:
    """Return the image mirrored at a plane, (i, j, k) on its own grid; 0 outside the mirrored field of view."""
    affine, inverse = volume.affine, np.linalg.inv(volume.affine)
    reflect = np.eye(4)
    reflect[:3, :3] -= 2 * np.outer(normal, normal)
    reflect[:3, 3] = 2 * distance_mm * np.asarray(normal)
    steps = inverse @ reflect @ affine
    return ndimage.affine_transform(volume.data.astype(np.float32), steps[:3, :3], steps[:3, 3], order=1)


def asymmetry(volume: Volume, smooth_mm: float = 2.0) -> np.ndarray:
    """Return the difference from the mirror image in standard deviations, (i, j, k), float32; positive is brighter.

    Zero outside the head, and where the mirror image is outside.
    """
    normal, distance = mirror_plane(volume)
    blurred = Volume(
        ndimage.gaussian_filter(volume.data.astype(np.float32), smooth_mm / volume.grid.spacing_mm),
        volume.affine,
    )
    other = mirrored(blurred, normal, distance)
    level = 0.2 * float(np.percentile(blurred.data, 98))
    inside = (blurred.data > level) & (other > level)
    difference = np.where(inside, blurred.data - other, 0.0)
    spread = float(difference[inside].std()) if inside.any() else 0.0
    return (difference / spread if spread > 0 else difference).astype(np.float32)


def _plane(parameters: np.ndarray, middle: np.ndarray) -> tuple[np.ndarray, float]:
    about_z, about_y, shift = parameters
    normal = np.array([np.cos(about_z) * np.cos(about_y), np.sin(about_z) * np.cos(about_y), np.sin(about_y)])
    return normal, float(normal @ middle + shift)


def _reflect(points: np.ndarray, normal: np.ndarray, distance: float) -> np.ndarray:
    return points - 2 * (points @ normal - distance)[:, None] * normal


def _coarse(volume: Volume) -> Volume:
    factor = np.maximum(1.0, COARSE_MM / volume.grid.spacing_mm)
    blurred = ndimage.gaussian_filter(volume.data.astype(np.float32), factor / 2)
    step = tuple(slice(None, None, max(1, round(float(f)))) for f in factor)
    affine = volume.affine.copy()
    affine[:3, :3] = affine[:3, :3] * [s.step for s in step]
    return Volume(blurred[step], affine)


def _points(volume: Volume) -> np.ndarray:
    index = np.indices(volume.data.shape).reshape(3, -1).T
    return index @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def _sample(volume: Volume, points: np.ndarray) -> np.ndarray:
    index = np.linalg.solve(volume.affine[:3, :3], (points - volume.affine[:3, 3]).T)
    return ndimage.map_coordinates(volume.data, index, order=1)
