"""Nodes of the open case, in a scene that may contain other nodes."""

from __future__ import annotations

import slicer

from ..errors import GeometryError
from ..session.case import Case
from ..session.view import Overlay, Prompt
from ..volume import Volume
from .overlays import add_overlay, add_prompt_lists, show_in_slices, show_prompts, show_side_by_side
from .segments import add_segmentation, mask_of, show_mask
from .volumes import add_volume, remove


class CaseNodes:
    """MRML nodes of a case, for both user interfaces; only nodes that it made are ever removed.

    Args:
        scene: the MRML scene.

    Attributes:
        scans: a volume per sequence of the visit; the first has the mask.
        segmentation: with the segment "lesion"; None when no case is open.
        prompts: kind -> list of points.
        showing_prompts: whether points that are defined now are shown, not placed by the user.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self.scene = scene
        self.prompts = add_prompt_lists(scene)
        self.showing_prompts = False
        self.scans: list[slicer.vtkMRMLScalarVolumeNode] = []
        self.segmentation: slicer.vtkMRMLSegmentationNode | None = None
        self._overlay: slicer.vtkMRMLScalarVolumeNode | None = None
        self._opacity = 0.5
        self._case: Case | None = None

    def show_case(self, case: Case | None) -> None:
        """Show a case's scans and an empty segmentation instead of the case before."""
        self.show_overlay(None)
        for node in (self.segmentation, *self.scans):
            remove(self.scene, node)
        self._case, self.scans, self.segmentation = case, [], None
        if case is not None:
            self.scans = [add_volume(self.scene, s.volume, s.image.image_id) for s in case.sequences]
            self.segmentation = add_segmentation(self.scene, self.scans[0], f"{case.image.image_id} lesion")
        self.show_scan(0)

    def show_scan(self, index: int) -> None:
        """Show one of the visit's scans under the mask, in all slice views."""
        scan = self.scans[index] if index < len(self.scans) else None
        show_in_slices(self.scene, scan, self._overlay, self._opacity)

    def show_side_by_side(self, views: list[str]) -> None:
        """Show each of the visit's scans in a view of its own, in the order of the views' names."""
        show_side_by_side(self.scene, dict(zip(views, self.scans)))

    def show_mask(self, mask: Volume) -> None:
        """Show a mask as the segment "lesion"."""
        if self.segmentation is not None:
            show_mask(self.segmentation, mask)

    def painted_mask(self) -> Volume:
        """Return the segment "lesion" on the scan's own grid.

        Raises:
            GeometryError: no case is open, or the segment is not there.
        """
        if self.segmentation is None or self._case is None:
            raise GeometryError("Open a scan first.")
        return mask_of(self.segmentation, self._case.grid)

    def show_overlay(self, overlay: Overlay | None) -> None:
        """Show an overlay instead of the one before."""
        remove(self.scene, self._overlay)
        self._overlay = add_overlay(self.scene, overlay) if overlay else None
        self._opacity = overlay.opacity if overlay else self._opacity
        self.show_scan(0)

    def show_prompts(self, prompts: tuple[Prompt, ...]) -> None:
        """Show these clicks and no others."""
        self.showing_prompts = True
        try:
            show_prompts(self.prompts, prompts)
        finally:
            self.showing_prompts = False

    def jump_to(self, point_mm: tuple[float, float, float]) -> None:
        """Show the slices through a point (RAS)."""
        slicer.vtkMRMLSliceNode.JumpAllSlices(self.scene, *point_mm)

    def remove(self) -> None:
        """Take everything out of the scene."""
        self.show_case(None)
        for node in self.prompts.values():
            remove(self.scene, node)
