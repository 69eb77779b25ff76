"""Overlays as foreground volumes with colours."""

from __future__ import annotations

import matplotlib
import numpy as np
import slicer
from StrokeLabelLib.session.view import Overlay
from StrokeLabelLib.volume import Volume

from . import nodes


def add(scene: slicer.vtkMRMLScene, overlay: Overlay) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a volume node with the overlay's voxels and colours; voxels below its range are transparent."""
    data = overlay.volume.data
    values = data.astype(np.float32 if data.dtype.kind == "f" else np.int16)
    node = nodes.scalar_node(scene, Volume(values, overlay.volume.affine), f"overlay {overlay.name}")
    low, high = overlay.value_range
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(_colors(scene, overlay).GetID())
    display.SetAutoWindowLevel(False)
    if overlay.colors:
        display.SetInterpolate(False)
        display.SetWindowLevelMinMax(0, max(overlay.colors))
        display.SetThreshold(1, max(overlay.colors))
    else:
        display.SetWindowLevelMinMax(low, high)
        display.SetThreshold(low, float(values.max(initial=high)) + 1.0)
    display.SetApplyThreshold(True)
    return node


def remove(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode | None) -> None:
    """Remove an overlay's node and its colours."""
    if node is not None:
        colors = node.GetDisplayNode().GetColorNode()
        scene.RemoveNode(node)
        scene.RemoveNode(colors)


def _colors(scene: slicer.vtkMRMLScene, overlay: Overlay) -> slicer.vtkMRMLColorTableNode:
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(f"colors of {overlay.name}")
    node.SetTypeToUser()
    if overlay.colors:
        node.SetNumberOfColors(max(overlay.colors) + 1)
        node.SetColor(0, "none", 0, 0, 0, 0)
        for value, (name, *rgb) in overlay.colors.items():
            node.SetColor(value, name, *(channel / 255 for channel in rgb), 1)
    else:
        node.SetNumberOfColors(256)
        for index, color in enumerate(matplotlib.colormaps[overlay.color_map](np.linspace(0, 1, 256))):
            node.SetColor(index, f"{index}", *(float(c) for c in color[:3]), 1)
    return scene.AddNode(node)  # filled before the scene sees it: VTK complains about empty tables
