"""Arrays on a scan's grid <-> MRML, where left-handed grids are held with k reversed."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from StrokeLabelLib.volume import Grid, Volume
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

LABELMAP = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def right_handed(grid: Grid) -> Grid:
    """The grid with k reversed where i, j, k is left-handed: filters and surfaces of VTK expect right-handed ones."""
    if np.linalg.det(grid.affine[:3, :3]) > 0:
        return grid
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = grid.shape[2] - 1
    return Grid(grid.shape, grid.affine @ flip)


def _flipped(data: np.ndarray, grid: Grid) -> np.ndarray:
    return data if right_handed(grid) is grid else data[:, :, ::-1]


def scalar_node(scene: slicer.vtkMRMLScene, volume: Volume, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a volume node that holds a volume's voxels.

    Args:
        scene: where to add it.
        volume: (i, j, k), any numeric type but bool.
        name: of the node.
    """
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    set_scalars(node, volume)
    node.CreateDefaultDisplayNodes()
    return node


def set_scalars(node: slicer.vtkMRMLScalarVolumeNode, volume: Volume) -> None:
    """Give a volume node other voxels."""
    grid = right_handed(volume.grid)
    image = vtk.vtkImageData()
    image.SetDimensions(grid.shape)
    image.GetPointData().SetScalars(vtk_array(_flipped(volume.data, volume.grid)))
    node.SetIJKToRASMatrix(matrix(grid.affine))
    node.SetAndObserveImageData(image)


def oriented_image(mask: np.ndarray, grid: Grid) -> slicer.vtkOrientedImageData:
    """A mask as a labelmap, cropped to what is set.

    Args:
        mask: (i, j, k), bool, on `grid`.
        grid: of the scan.
    """
    mask, grid = _flipped(mask, grid), right_handed(grid)
    low, high = _bounds(mask)
    image = slicer.vtkOrientedImageData()
    image.SetExtent(*(int(n) for pair in zip(low, high - 1, strict=True) for n in pair))
    cropped = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    image.GetPointData().SetScalars(vtk_array(cropped.astype(np.uint8)))
    image.SetImageToWorldMatrix(matrix(grid.affine))
    return image


def segment_mask(node: slicer.vtkMRMLSegmentationNode, segment_id: str, grid: Grid) -> np.ndarray:
    """A segment as booleans (i, j, k) on the scan's grid.

    Args:
        node: a segmentation whose labelmaps were made on this grid.
        segment_id: of the segment.
        grid: of the scan.
    """
    result = np.zeros(grid.shape, bool)
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    extent = np.array(image.GetExtent()).reshape(3, 2)
    if (extent[:, 1] < extent[:, 0]).any() or image.GetPointData().GetScalars() is None:
        return result
    size = extent[:, 1] - extent[:, 0] + 1
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(size[::-1]).T
    low, high = np.maximum(extent[:, 0], 0), np.minimum(extent[:, 1] + 1, grid.shape)
    if (high > low).all():
        source = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, extent[:, 0], strict=True))
        result[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = values[source] > 0
    return np.ascontiguousarray(_flipped(result, grid))


def _bounds(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and behind the last index of what is set; one voxel when nothing is."""
    low, high = np.zeros(3, int), np.ones(3, int)
    for axis in range(3):
        other = tuple(a for a in range(3) if a != axis)
        set_there = np.flatnonzero(mask.any(axis=other))
        if set_there.size:
            low[axis], high[axis] = set_there[0], set_there[-1] + 1
    return low, high


def vtk_array(data: np.ndarray) -> vtk.vtkDataArray:
    """Voxels (i, j, k) as VTK orders them: i fastest."""
    return numpy_to_vtk(data.ravel(order="F"), deep=True)


def matrix(affine: np.ndarray) -> vtk.vtkMatrix4x4:
    """A (4, 4) array as VTK holds it."""
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(tuple(float(x) for x in affine.ravel()))
    return result
