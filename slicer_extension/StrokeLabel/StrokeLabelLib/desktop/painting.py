"""Conversion of events in the Segment Editor and in the views into commands."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer

from ..errors import StrokeLabelLibError
from ..mrml.case_nodes import CaseNodes
from ..mrml.overlays import last_point
from ..session.presenter import Presenter


class Painting:
    """Observer of the segmentation and the lists of points.

    Args:
        nodes: of the open case.
        presenter: gets the commands.
        effect_name: says which tool is active, for the name of the step.
    """

    def __init__(self, nodes: CaseNodes, presenter: Presenter, effect_name: Callable[[], str]) -> None:
        self._nodes, self._presenter, self._effect_name = nodes, presenter, effect_name
        self._observed: list[tuple[slicer.vtkObject, int]] = []
        self._later = qt.QTimer()  # several events of one stroke become one step
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.connect("timeout()", self._take)
        for kind, node in nodes.prompts.items():
            event = slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent
            node.AddObserver(event, lambda caller, event, kind=kind: self._clicked(kind))

    def watch_case(self) -> None:
        """Call it after another case was opened."""
        self.stop()
        node = self._nodes.segmentation
        if node is not None:
            event = slicer.vtkSegmentation.SourceRepresentationModified
            self._observed.append((node, node.AddObserver(event, lambda *_: self._later.start())))

    def stop(self) -> None:
        """Watch nothing any more."""
        self._later.stop()
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []

    def start_placing(self, kind: str) -> None:
        """Let the next click in a view be a point of this kind."""
        node = self._nodes.prompts[kind]
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
        selection.SetActivePlaceNodeID(node.GetID())
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        interaction.SetPlaceModePersistence(0)
        interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.Place)

    def _take(self) -> None:
        try:
            mask = self._nodes.painted_mask()
        except StrokeLabelLibError as error:
            self._presenter.session.fail(error)
            return
        self._presenter.editing.mask_edited(mask, self._effect_name() or "Edit")

    def _clicked(self, kind: str) -> None:
        point = last_point(self._nodes.prompts[kind])
        if point is not None and not self._nodes.showing_prompts:
            # after the event, so that the list may be changed
            qt.QTimer.singleShot(0, lambda: self._use(kind, point))

    def _use(self, kind: str, point_mm: tuple[float, float, float]) -> None:
        self._nodes.show_prompts(self._presenter.session.prompts)
        self._presenter.segmentation.add_prompt(kind, point_mm)
