"""Overlays of a scan: probability, uncertainty and tissues as foreground volumes, and clicks as fiducials."""

from __future__ import annotations

import numpy as np
import slicer

from ..session.view import Overlay, Prompt
from .volumes import add_volume

COLOR_MAPS = {
    "inferno": (
        (0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85), (227, 89, 51), (249, 140, 10),
        (249, 201, 50), (252, 255, 164),
    ),
    "viridis": (
        (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141), (39, 173, 129), (92, 200, 99),
        (170, 220, 50), (253, 231, 37),
    ),
    "coolwarm": ((59, 76, 192), (141, 176, 254), (221, 221, 221), (244, 154, 123), (180, 4, 38)),
}  # fmt: skip
"""Some colours of Matplotlib's maps (CC0), between which it is interpolated."""

STEPS = 256


def add_overlay(scene: slicer.vtkMRMLScene, overlay: Overlay) -> slicer.vtkMRMLScalarVolumeNode:
    """Put an overlay into a scene as a volume with colours, transparent below its range."""
    node = add_volume(scene, overlay.volume, overlay.name)
    display = node.GetDisplayNode()
    colors = _label_colors(overlay) if overlay.colors else _map_colors(overlay.color_map)
    colors.SetName(f"StrokeLabel {overlay.name}")
    scene.AddNode(colors)
    display.SetAndObserveColorNodeID(colors.GetID())
    low, high = (0, STEPS - 1) if overlay.colors else overlay.value_range
    display.SetWindowLevelMinMax(low, high)
    display.SetLowerThreshold(overlay.value_range[0])
    display.SetUpperThreshold(float(max(np.max(overlay.volume.data, initial=0), overlay.value_range[1])))
    display.SetApplyThreshold(True)
    display.SetInterpolate(not overlay.colors)
    return node


def show_in_slices(
    scene: slicer.vtkMRMLScene,
    background: slicer.vtkMRMLScalarVolumeNode | None,
    foreground: slicer.vtkMRMLScalarVolumeNode | None,
    opacity: float,
) -> None:
    """Show a scan, and over it an overlay, in all slice views; None shows nothing in that layer."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")
        composite.SetBackgroundVolumeID(background.GetID() if background else None)
        composite.SetForegroundVolumeID(foreground.GetID() if foreground else None)
        composite.SetForegroundOpacity(opacity if foreground else 0.0)
        _link(composite)


def show_side_by_side(scene: slicer.vtkMRMLScene, scans: dict[str, slicer.vtkMRMLScalarVolumeNode]) -> None:
    """Show scans in views of their own that move together.

    Args:
        scene: the MRML scene.
        scans: name of a slice view's layout -> its scan. Other views are left alone.
    """
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        composite = scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")
        scan = scans.get(composite.GetLayoutName())
        if scan is not None:
            composite.SetBackgroundVolumeID(scan.GetID())
            composite.SetForegroundVolumeID(None)
            _link(composite)


def _link(composite: slicer.vtkMRMLSliceCompositeNode) -> None:
    """Link the views' scrolling and zoom, but let each keep its own scan."""
    composite.SetLinkedControl(True)
    composite.SetHotLinkedControl(True)
    composite.SetDoPropagateVolumeSelection(False)


def _map_colors(name: str) -> slicer.vtkMRMLColorTableNode:
    anchors = np.array(COLOR_MAPS[name]) / 255
    at = np.linspace(0, len(anchors) - 1, STEPS)
    table = _empty_table(STEPS)
    for step, place in enumerate(at):
        red, green, blue = (float(np.interp(place, range(len(anchors)), anchors[:, c])) for c in range(3))
        table.SetColor(step, f"{step}", red, green, blue, 1.0)
    return table


def _label_colors(overlay: Overlay) -> slicer.vtkMRMLColorTableNode:
    table = _empty_table(STEPS)
    for value in range(STEPS):
        table.SetColor(value, "background", 0.0, 0.0, 0.0, 0.0)
    for value, (name, red, green, blue) in overlay.colors.items():
        table.SetColor(value, name, red / 255, green / 255, blue / 255, 1.0)
    return table


def _empty_table(size: int) -> slicer.vtkMRMLColorTableNode:
    table = slicer.vtkMRMLColorTableNode()
    table.SetTypeToUser()
    table.SetNumberOfColors(size)
    table.SetHideFromEditors(True)
    return table


COLORS = {
    "lesion": (0.2, 0.9, 0.3),
    "not lesion": (0.95, 0.3, 0.9),
    "add region": (0.3, 0.8, 1.0),
    "remove island": (1.0, 0.6, 0.1),
}
"""Kinds of clicks; the last two act at once and do not stay."""


def add_prompt_lists(scene: slicer.vtkMRMLScene) -> dict[str, slicer.vtkMRMLMarkupsFiducialNode]:
    """Add a list of points for each kind of click, in its own colour."""
    lists = {}
    for kind, (red, green, blue) in COLORS.items():
        node = slicer.vtkMRMLMarkupsFiducialNode()
        node.SetName(f"StrokeLabel: {kind}")
        scene.AddNode(node)
        display = slicer.vtkMRMLMarkupsFiducialDisplayNode()
        display.SetSelectedColor(red, green, blue)
        display.SetColor(red, green, blue)
        display.SetPointLabelsVisibility(False)
        scene.AddNode(display)
        node.SetAndObserveDisplayNodeID(display.GetID())
        lists[kind] = node
    return lists


def show_prompts(lists: dict[str, slicer.vtkMRMLMarkupsFiducialNode], prompts: tuple[Prompt, ...]) -> None:
    """Show these clicks and no others."""
    for node in lists.values():
        node.RemoveAllControlPoints()
    for prompt in prompts:
        x, y, z = prompt.point_mm
        lists[prompt.kind].AddControlPoint(x, y, z)


def last_point(node: slicer.vtkMRMLMarkupsFiducialNode) -> tuple[float, float, float] | None:
    """Return the RAS position of the point that was placed last; None without one."""
    count = node.GetNumberOfDefinedControlPoints()
    if count == 0:
        return None
    x, y, z = node.GetNthControlPointPositionWorld(count - 1)
    return x, y, z
