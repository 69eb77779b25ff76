"""A view whose scans and mask are MRML nodes, as in 3D Slicer and in the browser page."""

from __future__ import annotations

import numpy as np
import slicer
from StrokeLabelLib.mrml.case_nodes import CaseNodes
from StrokeLabelLib.mrml.segments import mask_of, show_mask
from StrokeLabelLib.mrml.volumes import volume_of
from StrokeLabelLib.session.case import Case
from StrokeLabelLib.session.presenter import Presenter
from StrokeLabelLib.session.view import Overlay, Prompt
from StrokeLabelLib.volume import Volume

from support.fake_view import FakeView


def new_scene() -> slicer.vtkMRMLScene:
    """A scene as 3D Slicer and trame-slicer have it: the Segmentations module knows it."""
    scene = slicer.vtkMRMLScene()
    slicer.vtkSlicerSegmentationsModuleLogic().SetMRMLScene(scene)
    return scene


class MrmlView(FakeView):
    """Paints into the segment, in the order in which Slicer holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = new_scene()
        self.nodes = CaseNodes(self.scene)

    def show_case(self, case: Case | None) -> None:
        super().show_case(case)
        self.nodes.show_case(case)

    def show_mask(self, mask: Volume) -> None:
        super().show_mask(mask)
        self.nodes.show_mask(mask)

    def show_overlay(self, overlay: Overlay | None) -> None:
        super().show_overlay(overlay)
        self.nodes.show_overlay(overlay)

    def show_prompts(self, prompts: tuple[Prompt, ...]) -> None:
        super().show_prompts(prompts)
        self.nodes.show_prompts(prompts)

    def jump_to(self, point_mm: tuple[float, float, float]) -> None:
        super().jump_to(point_mm)
        self.nodes.jump_to(point_mm)

    def paint(
        self, presenter: Presenter, points_mm: list[np.ndarray], value: int = 1, name: str = "Paint"
    ) -> None:
        assert self.nodes.segmentation is not None
        scan = volume_of(self.nodes.scans[0]).grid
        held = mask_of(self.nodes.segmentation, scan)  # in Slicer's own order
        for point in points_mm:
            held.data[scan.to_voxel(point)] = value
        show_mask(self.nodes.segmentation, held)
        presenter.editing.mask_edited(self.nodes.painted_mask(), name)
        self.mask = held
