"""Rigid registration of two scans by mutual information, with SimpleITK; and the way of volumes to SimpleITK."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK
from scipy import ndimage

from strokelabel.types import Affine, Mask, Volume

_MARGIN_MM = 9.0
"""Surroundings of the mask that are compared too: the edge of the brain says most about its position."""

_BINS = 32


def register_rigidly(
    fixed: Volume,
    fixed_affine: Affine,
    moving: Volume,
    moving_affine: Affine,
    mask: Mask,
    start: Affine,
    step_mm: float,
) -> Affine:
    """Find the rigid motion from one scan to another of the same head, of any contrast.

    Mutual information (Mattes et al. 2003) near a mask of the fixed scan is maximised. Deterministic: every point is
    used, and one thread sums them up.

    Args:
        fixed: (i, j, k).
        fixed_affine: its voxel index to RAS mm; oblique or sheared as it may be.
        moving: (i, j, k), any grid.
        moving_affine: its voxel index to RAS mm.
        mask: of `fixed`, not empty: the brain.
        start: RAS mm of the fixed scan to RAS mm of the moving one, a rotation and a shift, from which to search.
        step_mm: distance between the points at which the scans are compared, after a blur of half of it.

    Returns:
        RAS mm of the fixed scan to RAS mm of the moving one, (4, 4).
    """
    near = ndimage.distance_transform_edt(~mask, sampling=_spacing(fixed_affine)) <= _MARGIN_MM
    transform = SimpleITK.Euler3DTransform()
    middle = fixed_affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + fixed_affine[:3, 3]
    transform.SetCenter(middle.tolist())
    transform.SetMatrix(start[:3, :3].ravel().tolist(), 1e-6)
    transform.SetTranslation((start[:3, :3] @ middle + start[:3, 3] - middle).tolist())
    fixed_image, to_fixed = on_index_grid(_blurred(fixed, fixed_affine, step_mm), fixed_affine)
    moving_image, to_moving = on_index_grid(_blurred(moving, moving_affine, step_mm), moving_affine)
    method = _method(step_mm)
    method.SetMetricFixedMask(on_index_grid(near.astype(np.uint8), fixed_affine)[0])
    method.SetFixedInitialTransform(to_fixed)
    method.SetMovingInitialTransform(to_moving)
    method.SetVirtualDomain(*_points_about(near, fixed_affine, step_mm))
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed_image, moving_image)
    return matrix_of(transform)


def on_index_grid(volume: np.ndarray, affine: Affine) -> tuple[SimpleITK.Image, SimpleITK.AffineTransform]:
    """Return a SimpleITK image in index space and the map from RAS mm to it.

    ITK only knows rotated grids; with a separate affine, sheared ones are right as well.
    """
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.transpose(2, 1, 0)))
    inverse = np.linalg.inv(affine)
    transform = SimpleITK.AffineTransform(3)
    transform.SetMatrix(inverse[:3, :3].ravel().tolist())
    transform.SetTranslation(inverse[:3, 3].tolist())
    return image, transform


def matrix_of(transform: SimpleITK.Euler3DTransform | SimpleITK.AffineTransform) -> Affine:
    """Return the 4 × 4 matrix of an ITK transform with a centre: y = A (x - c) + c + t."""
    linear = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - linear @ centre
    return matrix


def _method(step_mm: float) -> SimpleITK.ImageRegistrationMethod:
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetOptimizerAsConjugateGradientLineSearch(
        learningRate=1.0,
        numberOfIterations=30,
        convergenceMinimumValue=1e-6,
        convergenceWindowSize=5,
        lineSearchLowerLimit=0.0,
        lineSearchUpperLimit=2.0,
        lineSearchEpsilon=0.05,
        lineSearchMaximumIterations=8,
        estimateLearningRate=method.EachIteration,
        maximumStepSizeInPhysicalUnits=step_mm,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    return method


def _blurred(volume: Volume, affine: Affine, step_mm: float) -> Volume:
    return ndimage.gaussian_filter(volume, [step_mm / 2 / side for side in _spacing(affine)])


def _points_about(mask: Mask, affine: Affine, step_mm: float) -> tuple[Any, ...]:
    """Return size, origin, spacing and direction, in RAS mm, of the points at which scans are compared."""
    places = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    low, high = places.min(axis=0), places.max(axis=0)
    size = np.ceil((high - low) / step_mm).astype(int) + 1
    return size.tolist(), low.tolist(), [step_mm] * 3, np.eye(3).ravel().tolist()


def _spacing(affine: Affine) -> list[float]:
    return [float(side) for side in np.linalg.norm(affine[:3, :3], axis=0)]
