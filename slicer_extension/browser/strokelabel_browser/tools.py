"""Tools of the left mouse button in the slice views: none, a brush, scissors, or a click for the model."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from trame_slicer.core import SegmentationEditor
from trame_slicer.segmentation import (
    SegmentationEffect,
    SegmentationEffectErase,
    SegmentationEffectNoTool,
    SegmentationEffectPaint,
    SegmentationEffectPipeline,
    SegmentationEffectScissors,
)
from trame_slicer.segmentation.paint_effect_parameters import BrushDiameterMode
from vtkmodules.vtkCommonCore import vtkCommand

PAINTING = {
    "paint": (SegmentationEffectPaint, "Paint"),
    "erase": (SegmentationEffectErase, "Erase"),
    "scissors": (SegmentationEffectScissors, "Scissors"),
}
"""Tools that change the mask in the view: the effect, and the name of the step."""

CLICKING = ("lesion", "not_lesion", "add_region", "remove_island")
"""Tools whose click the presenter answers."""

TOOLS = ("navigate", *PAINTING, *CLICKING)
SMALLEST_MM, LARGEST_MM = 1.0, 60.0

Clicked = Callable[[tuple[float, float, float]], None]


class ClickPipeline(SegmentationEffectPipeline):
    """Pipeline that passes each press of the left button in a slice view to its effect."""

    def CanProcessInteractionEvent(self, event: slicer.vtkMRMLInteractionEventData) -> tuple[bool, float]:  # noqa: D102 - named by VTK
        return bool(self.IsActive()) and event.GetType() == int(vtkCommand.LeftButtonPressEvent), 0

    def ProcessInteractionEvent(self, event: slicer.vtkMRMLInteractionEventData) -> bool:  # noqa: D102
        self._effect.clicked(tuple(event.GetWorldPosition()))
        return True


class ClickEffect(SegmentationEffect):
    """Tool that reports the position of a click, and changes nothing.

    Attributes:
        clicked: called with the point (RAS, mm).
    """

    clicked: Clicked

    def _create_pipeline(
        self, view_node: slicer.vtkMRMLAbstractViewNode, _parameter: slicer.vtkMRMLNode
    ) -> SegmentationEffectPipeline | None:
        return ClickPipeline() if isinstance(view_node, slicer.vtkMRMLSliceNode) else None


class Tools:
    """Tool that is selected.

    Args:
        editor: of the scene.
        clicked: called with the tool and the point (RAS, mm) after a click of a tool of `CLICKING`.
    """

    def __init__(
        self, editor: SegmentationEditor, clicked: Callable[[str, tuple[float, float, float]], None]
    ) -> None:
        self._editor = editor
        self.active = "navigate"
        self.diameter_mm = 8.0
        self.sphere = False
        self._click = editor.get_effect(ClickEffect)
        self._click.clicked = lambda point: clicked(self.active, point)
        self._apply_brush()

    @property
    def paint_name(self) -> str:
        """Name of the step that the active tool makes in the view; "" if it makes none."""
        return PAINTING[self.active][1] if self.active in PAINTING else ""

    def use(self, tool: str) -> None:
        """Take a tool of `TOOLS`."""
        self.active = tool
        if tool in PAINTING:
            self._editor.set_active_effect_type(PAINTING[tool][0])
            self._apply_brush()
        else:
            self._editor.set_active_effect_type(ClickEffect if tool in CLICKING else SegmentationEffectNoTool)

    def set_brush(self, diameter_mm: float, sphere: bool | None = None) -> None:
        """Set the diameter of the brush, and whether it is a sphere or stays on the slice."""
        self.diameter_mm = min(max(float(diameter_mm), SMALLEST_MM), LARGEST_MM)
        self.sphere = self.sphere if sphere is None else sphere
        self._apply_brush()

    def _apply_brush(self) -> None:
        for effect_type in (SegmentationEffectPaint, SegmentationEffectErase):
            effect = self._editor.get_effect(effect_type)
            effect.set_brush_diameter(self.diameter_mm, BrushDiameterMode.Absolute)
            effect.set_use_sphere_brush(self.sphere)
