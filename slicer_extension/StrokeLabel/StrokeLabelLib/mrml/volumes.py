"""Scans as volume nodes."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from ..errors import FileFormatError
from ..volume import Volume
from .geometry import from_image, from_matrix, right_handed, to_image, to_matrix


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
