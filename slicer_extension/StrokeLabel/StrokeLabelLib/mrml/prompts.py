"""Clicks as fiducials."""

from __future__ import annotations

import slicer

from ..session.view import Prompt

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
