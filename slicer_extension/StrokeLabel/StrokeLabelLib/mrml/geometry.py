"""Between arrays with an affine and VTK's images with an IJK-to-RAS matrix."""

from __future__ import annotations

import numpy as np
import vtk
from vtk.util import numpy_support

from ..volume import Volume


def right_handed(volume: Volume) -> Volume:
    """Return the same voxels in the same places, with k reversed if the axes are left-handed.

    3D Slicer holds volumes so, because many of its filters expect it; `onto_grid` reverses it.
    """
    if np.linalg.det(volume.affine[:3, :3]) > 0:
        return volume
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (volume.data.shape[2] - 1)
    affine[:3, 2] *= -1
    return Volume(volume.data[:, :, ::-1], affine)


def to_matrix(affine: np.ndarray) -> vtk.vtkMatrix4x4:
    """Return a (4, 4) array as a VTK matrix."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(value) for value in np.asarray(affine).ravel()])
    return matrix


def from_matrix(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """Return a VTK matrix as a (4, 4) array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def to_image(data: np.ndarray, image: vtk.vtkImageData | None = None) -> vtk.vtkImageData:
    """Return an array (i, j, k) as a VTK image, copied; booleans become uint8.

    Args:
        data: (i, j, k).
        image: filled instead of a new one.
    """
    image = vtk.vtkImageData() if image is None else image
    values = data.astype(np.uint8) if data.dtype == bool else data
    image.SetDimensions(*data.shape)
    flat = np.ascontiguousarray(values.ravel(order="F"))
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(flat, deep=True))
    return image


def from_image(image: vtk.vtkImageData) -> np.ndarray:
    """Return a VTK image as an array (i, j, k), copied."""
    scalars = image.GetPointData().GetScalars()
    flat = numpy_support.vtk_to_numpy(scalars)
    return flat.reshape(image.GetDimensions(), order="F").copy()
