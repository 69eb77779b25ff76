"""A glassy surface of the head, so that the lesion in 3D can be seen in its place."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from scipy import ndimage
from StrokeLabelLib.mrml.volumes import right_handed, to_image, to_matrix
from StrokeLabelLib.volume import Volume

STEP_MM = 3.0


def surface(scene: slicer.vtkMRMLScene, scan: Volume) -> slicer.vtkMRMLModelNode:
    """Add a translucent model of what is not air.

    Args:
        scene: where to add it.
        scan: (i, j, k), any contrast.
    """
    grid = scan.grid
    step = np.maximum(np.rint(STEP_MM / grid.spacing_mm), 1).astype(int)
    small = np.asarray(scan.data[tuple(slice(None, None, s) for s in step)], np.float32)
    mask = np.pad(_not_air(small), 1)
    affine = grid.affine @ np.diag([*step, 1.0])
    affine[:3, 3] -= affine[:3, :3] @ np.ones(3)
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), 1.0)
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "head")
    model.SetAndObservePolyData(_polygons(Volume(smooth, affine)))
    model.CreateDefaultDisplayNodes()
    display = model.GetDisplayNode()
    display.SetScalarVisibility(False)
    display.SetColor(0.75, 0.8, 0.85)
    display.SetOpacity(0.18)
    display.SetVisibility2D(False)
    model.SetSelectable(False)
    return model


def _not_air(values: np.ndarray) -> np.ndarray:
    finite = np.nan_to_num(values)
    level = np.percentile(finite, 99) * 0.12
    mask = ndimage.binary_fill_holes(ndimage.binary_opening(finite > level))
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    return labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1


def _polygons(volume: Volume) -> vtk.vtkPolyData:
    placed = right_handed(volume)
    edges = vtk.vtkFlyingEdges3D()
    edges.SetInputData(to_image(placed.data))
    edges.SetValue(0, 0.5)
    edges.ComputeScalarsOff()
    to_ras = vtk.vtkTransform()
    to_ras.SetMatrix(to_matrix(placed.affine))
    result = vtk.vtkTransformPolyDataFilter()
    result.SetInputConnection(edges.GetOutputPort())
    result.SetTransform(to_ras)
    result.Update()
    return result.GetOutput()
