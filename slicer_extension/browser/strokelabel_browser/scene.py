"""MRML scene of one case in four views: scans, mask, overlay, clicks, head. It has no logic of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import slicer
import vtk
from scipy import ndimage
from StrokeLabelLib.mrml.overlays import add_overlay, add_prompt_lists, show_prompts
from StrokeLabelLib.mrml.segments import LESION_ID, add_segmentation, mask_of, show_mask
from StrokeLabelLib.mrml.volumes import add_volume, remove, right_handed, to_image, to_matrix
from StrokeLabelLib.session.case import Case
from StrokeLabelLib.session.view import Overlay, Prompt
from StrokeLabelLib.volume import Grid, Volume
from trame_slicer.core import SlicerApp
from trame_slicer.views import AbstractView, ViewLayoutDefinition

from .tools import Tools

REST_S = 0.25
"""Time that the mask stays the same before the 3D view gets its surface."""

AXIAL, CORONAL, SAGITTAL, THREED = "Axial", "Coronal", "Sagittal", "ThreeD"


def view_definitions() -> dict[str, ViewLayoutDefinition]:
    """Return the four views by name."""
    views = {name: ViewLayoutDefinition.slice_view(name) for name in (AXIAL, CORONAL, SAGITTAL)}
    views[THREED] = ViewLayoutDefinition.threed_view(name=THREED, background_color=("#0b0e11", "#171c21"))
    return views


class Scene:
    """One case in a MRML scene.

    Args:
        app: with a view factory registered already.
        painted: called with the mask (uint8, on the scan's grid) and the tool's name after each stroke.
        clicked: called with the tool and the point (RAS, mm) after each click of a click tool.
        later: runs a function after so many seconds; at once by default.

    Attributes:
        mask_changes: how many times another mask was shown, for benchmarks.
    """

    def __init__(
        self,
        app: SlicerApp,
        painted: Callable[[Volume, str], None],
        clicked: Callable[[str, tuple[float, float, float]], None],
        later: Callable[[float, Callable[[], None]], object] = lambda _, run: run(),
    ) -> None:
        self._later = later
        self._resting = 0  # counts what has changed since the 3D view was last up to date
        self.app = app
        self._painted = painted
        self._editor = app.segmentation_editor
        self._views = [app.view_manager.create_view(view) for view in view_definitions().values()]
        for view in self._views:
            view.render_window().SetMultiSamples(0)  # 6 times slower otherwise where there is no GPU
        self._views[3].renderer().SetMaximumNumberOfPeels(2)  # the glassy head and what is in it
        self.tools = Tools(self._editor, clicked)  # after the views, for which its effects make their widgets
        self._grid: Grid | None = None
        self._scans: list[slicer.vtkMRMLScalarVolumeNode] = []
        self._segmentation: slicer.vtkMRMLSegmentationNode | None = None
        self._overlay: slicer.vtkMRMLVolumeNode | None = None
        self._head: slicer.vtkMRMLModelNode | None = None
        self._prompts = _locked(add_prompt_lists(app.scene))
        self._shown: np.ndarray | None = None
        self._writing = False
        self.mask_changes = 0
        self._editor.segmentation_modified.connect(self._segmentation_modified)

    @property
    def slice_views(self) -> list[AbstractView]:
        """Axial, coronal, sagittal."""
        return self._views[:3]

    @property
    def views(self) -> list[AbstractView]:
        """Axial, coronal, sagittal, 3D."""
        return list(self._views)

    def show_case(self, case: Case | None) -> None:
        """Show the scans of a case, the first in front; remove what was shown before."""
        self._clear()
        if case is None:
            return
        self._grid = case.grid
        scene = self.app.scene
        self._scans = [add_volume(scene, s.volume, s.image.image_id) for s in case.sequences]
        self.show_sequence(0)  # before the mask, which is blended with what was added to the views before it
        self._segmentation = self._make_segmentation(self._scans[0])
        self._head = head_surface(scene, case.scan)
        self.fit()

    def show_sequence(self, index: int) -> None:
        """Put another scan of the visit into the slice views; the mask stays where it is."""
        if index < len(self._scans):
            self.app.display_manager.show_volume_in_slice_background(self._scans[index])

    def show_mask(self, mask: Volume) -> None:
        """Show a mask on the open scan's grid; it does not come back as painted."""
        if self._segmentation is None or self._grid is None:
            return
        values = mask.data > 0
        if self._shown is not None and np.array_equal(values, self._shown):
            return
        self._shown = values
        self.mask_changes += 1
        self._writing = True
        self._rest_3d()
        try:
            if values.any():
                show_mask(self._segmentation, mask)
            else:
                slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(self._segmentation, LESION_ID)
        finally:
            self._writing = False

    def _rest_3d(self) -> None:
        """Let the slices follow the mask at once, and the 3D view when it has rested: its surface costs most."""
        self._resting += 1
        changes = self._resting
        self._views[3].set_render_blocked(True)
        self._editor.show_3d(False)
        self._later(REST_S, lambda: self._wake_3d(changes))

    def _wake_3d(self, changes: int) -> None:
        if changes != self._resting:
            return  # the mask has changed again
        # VTK complains about surfaces of nothing
        self._editor.show_3d(bool(self._shown is not None and self._shown.any()))
        self._views[3].set_render_blocked(False)

    def mask(self) -> np.ndarray | None:
        """Return the mask of the views: booleans (i, j, k) on the scan's grid; None without a case."""
        if self._segmentation is None or self._grid is None:
            return None
        return mask_of(self._segmentation, self._grid).data > 0

    def set_mask_style(self, visible: bool, opacity: float) -> None:
        """Show or hide the mask; the outline stays at full opacity, the filling gets `opacity`."""
        if self._segmentation is not None:
            display = self._segmentation.GetDisplayNode()
            display.SetVisibility(visible)
            display.SetAllSegmentsOpacity2DFill(opacity)

    def show_overlay(self, overlay: Overlay | None) -> None:
        """Show an overlay instead of the one before."""
        manager = self.app.display_manager
        manager.show_volume_in_slice_foreground(None)
        if self._overlay is not None:
            remove(self.app.scene, self._overlay.GetDisplayNode().GetColorNode())
            remove(self.app.scene, self._overlay)
        self._overlay = None
        if overlay is not None:
            self._overlay = add_overlay(self.app.scene, overlay)
            manager.show_volume_in_slice_foreground(self._overlay)
            self.set_overlay_opacity(overlay.opacity)

    def set_overlay_opacity(self, opacity: float) -> None:
        """Set the opacity of the overlay: 0 shows the scan alone, 1 hides it where the overlay is."""
        for view in self.slice_views:
            view.set_foreground_opacity(opacity)

    def show_prompts(self, prompts: tuple[Prompt, ...]) -> None:
        """Show these clicks and no others."""
        show_prompts(self._prompts, prompts)

    def jump_to(self, point_mm: tuple[float, float, float]) -> None:
        """Show the slices through a point (RAS)."""
        for view in self.slice_views:
            view.get_view_node().JumpSliceByOffsetting(*point_mm)

    def step(self, count: int) -> None:
        """Move the axial view by so many slices."""
        view = self._views[0]
        view.set_slice_value(view.get_slice_value() + count * view.get_slice_step())

    def fit(self) -> None:
        """Fit the views to the scan."""
        if self._scans:
            self.app.display_manager.reset_views()

    def _segmentation_modified(self, *_: object) -> None:
        name = self.tools.paint_name
        if self._writing or not name or self._grid is None:
            return
        mask = self.mask()
        if mask is None or (self._shown is not None and np.array_equal(mask, self._shown)):
            return
        self._shown = mask
        self._rest_3d()
        self._painted(Volume(mask.astype(np.uint8), self._grid.affine), name)

    def _make_segmentation(self, scan: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode:
        node = add_segmentation(self.app.scene, scan, "Lesion")
        self._editor.set_active_segmentation(node, scan)
        display = node.GetDisplayNode()
        display.SetSliceIntersectionThickness(2)
        display.SetOpacity2DOutline(1.0)
        display.SetOpacity2DFill(1.0)  # times that of the segment
        return node

    def _clear(self) -> None:
        self.tools.use("navigate")
        self.show_overlay(None)
        self.show_prompts(())
        self.app.display_manager.show_volume_in_slice_background(None)
        self._writing = True
        try:
            for node in (self._segmentation, self._head, *self._scans):
                remove(self.app.scene, node)
        finally:
            self._writing = False
        self._grid = self._segmentation = self._head = self._shown = None
        self._scans = []


def _locked(
    lists: dict[str, slicer.vtkMRMLMarkupsFiducialNode],
) -> dict[str, slicer.vtkMRMLMarkupsFiducialNode]:
    """Make clicks small, and lock them."""
    for node in lists.values():
        node.SetLocked(True)
        node.GetDisplayNode().SetGlyphScale(1.6)
    return lists


_HEAD_STEP_MM = 3.0


def head_surface(scene: slicer.vtkMRMLScene, scan: Volume) -> slicer.vtkMRMLModelNode:
    """Add a glassy surface of the head, what is not air, so that the lesion in 3D can be seen in its place.

    Args:
        scene: where to add it.
        scan: (i, j, k), any contrast.
    """
    grid = scan.grid
    step = np.maximum(np.rint(_HEAD_STEP_MM / grid.spacing_mm), 1).astype(int)
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
