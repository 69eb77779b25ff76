"""Scans as volume nodes, and the geometry of their voxels."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..errors import FileFormatError
from ..volume import Volume


def add_volume(scene: slicer.vtkMRMLScene, volume: Volume, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Put a volume into a scene, with a display node in gray.

    Args:
        scene: the MRML scene.
        volume: any orientation; left-handed axes are stored with k reversed, in the same places.
        name: of the node.
    """
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name)
    scene.AddNode(node)
    update_volume(node, volume)
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    display.SetAutoWindowLevel(False)
    low, high = _window(volume.data)
    display.SetWindowLevelMinMax(low, high)
    scene.AddNode(display)
    display.SetDefaultColorMap()  # gray; without one, slice views stay black
    node.SetAndObserveDisplayNodeID(display.GetID())
    return node


def update_volume(node: slicer.vtkMRMLScalarVolumeNode, volume: Volume) -> None:
    """Replace a node's voxels and place."""
    placed = right_handed(volume)
    data = placed.data.astype(np.float32) if placed.data.dtype == np.float64 else placed.data
    node.SetAndObserveImageData(to_image(data))
    node.SetIJKToRASMatrix(to_matrix(placed.affine))


def volume_of(node: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """Return a node's voxels and grid, as the node stores them.

    Raises:
        FileFormatError: the node is empty.
    """
    if node.GetImageData() is None:
        raise FileFormatError(f"{node.GetName()}: expected a volume with voxels, found an empty one.")
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return Volume(from_image(node.GetImageData()), from_matrix(matrix))


def remove(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode | None) -> None:
    """Take a node, with its display and storage nodes, out of a scene; None is fine."""
    if node is None or not scene.IsNodePresent(node):
        return
    if isinstance(node, slicer.vtkMRMLDisplayableNode):
        for index in reversed(range(node.GetNumberOfDisplayNodes())):
            remove(scene, node.GetNthDisplayNode(index))
    if isinstance(node, slicer.vtkMRMLStorableNode):
        remove(scene, node.GetStorageNode())
    scene.RemoveNode(node)


def _window(data: np.ndarray) -> tuple[float, float]:
    """Return the gray values that show a head well: its 1st to 99.5th percentile."""
    sample = data[tuple(slice(None, None, max(1, n // 64)) for n in data.shape)]
    low, high = np.percentile(sample[np.isfinite(sample)], (1, 99.5)) if sample.size else (0, 1)
    return float(low), float(high if high > low else low + 1)


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
