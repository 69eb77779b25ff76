"""The scene in real slice views, with a synthetic mouse and without server or browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from strokelabel_browser.scene import Scene
from StrokeLabelLib.client.answers import ImageEntry
from StrokeLabelLib.ops.strokes import LesionMask
from StrokeLabelLib.session.case import Case, MaskHistory, Sequence
from StrokeLabelLib.session.view import Overlay, Prompt
from StrokeLabelLib.volume import Grid, Volume
from trame_slicer.core import SlicerApp
from trame_slicer.views import DirectViewFactory, SliceView
from trame_slicer.views.render_scheduler import NoScheduleRendering
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkRenderingCore import vtkWindowToImageFilter

from support.bright_network import centred_affine, rotation

SHAPE = (41, 36, 29)
AXES = {
    "LAS": np.diag([-1, 1, 1]),
    "PSR": np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]]),
    "oblique LIA": rotation((9, -6, 4)) @ np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]]),
}


class Recorder:
    """What the scene told."""

    def __init__(self) -> None:
        self.painted: list[tuple[np.ndarray, str]] = []
        self.clicked: list[tuple[str, tuple[float, float, float]]] = []


@pytest.fixture(scope="module")
def app() -> SlicerApp:
    app = SlicerApp()
    app.view_manager.register_factory(DirectViewFactory(do_render_offscreen=True))
    return app


@pytest.fixture(scope="module")
def scene_and_record(app: SlicerApp) -> tuple[Scene, Recorder]:
    record = Recorder()
    scene = Scene(
        app,
        lambda mask, name: record.painted.append((mask.data, name)),
        lambda tool, point: record.clicked.append((tool, point)),
    )
    for view in scene.views:
        view.set_scheduled_render(NoScheduleRendering())  # what is looked at is the mask, not the picture
        view.update_size(300, 240)
    return scene, record


@pytest.fixture(params=AXES)
def opened(
    request: pytest.FixtureRequest, scene_and_record: tuple[Scene, Recorder]
) -> Iterator[tuple[Scene, Recorder, Grid]]:
    scene, record = scene_and_record
    record.painted.clear()
    record.clicked.clear()
    affine = centred_affine(AXES[request.param] @ np.diag([2.1, 2.4, 3.0]), SHAPE)
    scene.show_case(_case(affine))
    yield scene, record, Grid(SHAPE, affine)
    scene.show_case(None)


def test_a_mask_comes_back_from_the_views_voxel_for_voxel(opened: tuple[Scene, Recorder, Grid]) -> None:
    scene, record, grid = opened
    mask = _box(grid)
    scene.show_mask(Volume(mask.astype(np.uint8), grid.affine))
    shown = scene.mask()
    assert shown is not None
    assert (shown == mask).all()
    assert record.painted == []  # what is shown is not painted


def test_an_empty_mask_empties_the_segment(opened: tuple[Scene, Recorder, Grid]) -> None:
    scene, _, grid = opened
    scene.show_mask(Volume(_box(grid).astype(np.uint8), grid.affine))
    scene.show_mask(Volume(np.zeros(SHAPE, np.uint8), grid.affine))
    shown = scene.mask()
    assert shown is not None
    assert not shown.any()


def test_the_surface_follows_when_the_mask_has_come_to_rest(
    opened: tuple[Scene, Recorder, Grid], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, _, grid = opened
    waiting: list[Callable[[], None]] = []
    monkeypatch.setattr(scene, "_later", lambda _, run: waiting.append(run))
    editor = scene.app.segmentation_editor
    scene.show_mask(Volume((~_box(grid)).astype(np.uint8), grid.affine))
    scene.show_mask(Volume(_box(grid).astype(np.uint8), grid.affine))
    shown = scene.mask()
    assert shown is not None
    assert (shown == _box(grid)).all()

    waiting[0]()
    assert not editor.is_3d_shown()  # the mask has changed since
    waiting[1]()
    assert editor.is_3d_shown()


def test_a_stroke_paints_where_the_mouse_was_and_is_told_once(opened: tuple[Scene, Recorder, Grid]) -> None:
    scene, record, grid = opened
    scene.tools.use("paint")
    scene.tools.set_brush(8.0, sphere=False)
    _stroke(scene.slice_views[0], (140, 118), (160, 118))
    ((mask, name),) = record.painted
    assert name == "Paint"
    points = np.argwhere(mask) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    assert len(points) > 5
    assert np.ptp(points[:, 2]) < 4  # it stays on the axial slice, give or take the tilt
    assert np.linalg.norm(points.mean(axis=0)[:2]) < 15  # the middle of the view is the middle of the head


def test_the_eraser_takes_away_what_it_passes(opened: tuple[Scene, Recorder, Grid]) -> None:
    scene, record, grid = opened
    before = _box(grid)
    scene.show_mask(Volume(before.astype(np.uint8), grid.affine))
    scene.tools.use("erase")
    _stroke(scene.slice_views[0], (140, 118), (160, 118))
    mask, name = record.painted[-1]
    assert name == "Erase"
    assert mask.sum() < before.sum()
    assert not (mask.astype(bool) & ~before).any()


def test_scissors_cut_through_all_slices(opened: tuple[Scene, Recorder, Grid]) -> None:
    scene, record, grid = opened
    before = _box(grid)
    scene.show_mask(Volume(before.astype(np.uint8), grid.affine))
    scene.tools.use("scissors")
    _stroke(scene.slice_views[0], (100, 80), (150, 80), (150, 160), (100, 160), (100, 80))
    mask, name = record.painted[-1]
    assert name == "Scissors"
    assert 0 < mask.sum() < before.sum()


def test_a_click_says_where_and_changes_nothing(opened: tuple[Scene, Recorder, Grid]) -> None:
    scene, record, grid = opened
    scene.tools.use("remove_island")
    _stroke(scene.slice_views[0], (150, 120))
    ((tool, point),) = record.clicked
    assert tool == "remove_island"
    assert record.painted == []
    i, j, k = grid.to_voxel(point)
    assert (np.abs(np.array([i, j, k]) - np.array(SHAPE) / 2) < 4).all()


def test_the_scan_is_gray_and_the_mask_lies_over_it_in_colour(opened: tuple[Scene, Recorder, Grid]) -> None:
    scene, _, grid = opened
    plain = _picture(scene.slice_views[0])
    middle = plain[120, 150]
    assert middle[0] == middle[1] == middle[2] > 150
    scene.show_mask(Volume(_box(grid).astype(np.uint8), grid.affine))
    red, green, blue = _picture(scene.slice_views[0])[120, 150].astype(int)
    assert red > green + 30
    assert min(green, blue) > 60  # the scan shows through


def test_without_a_tool_the_mouse_paints_nothing(opened: tuple[Scene, Recorder, Grid]) -> None:
    scene, record, _ = opened
    scene.tools.use("navigate")
    _stroke(scene.slice_views[0], (140, 118), (160, 118))
    assert (record.painted, record.clicked) == ([], [])


def test_left_of_the_patient_is_at_the_right_of_the_view(opened: tuple[Scene, Recorder, Grid]) -> None:
    scene, record, _ = opened
    scene.tools.use("lesion")
    _stroke(scene.slice_views[0], (200, 120))
    ((_, point),) = record.clicked
    assert point[0] < 0  # RAS


def test_jumping_shows_the_slices_through_a_point(opened: tuple[Scene, Recorder, Grid]) -> None:
    scene, _, grid = opened
    point = tuple(float(x) for x in grid.to_mm((12, 20, 9)))
    scene.jump_to(point)  # type: ignore[arg-type]
    offsets = [view.get_slice_value() for view in scene.slice_views]
    assert np.allclose(sorted(np.abs(offsets)), sorted(np.abs(_along_normals(scene, point))), atol=0.01)


def test_overlay_and_clicks_are_shown_and_removed(opened: tuple[Scene, Recorder, Grid]) -> None:
    scene, _, grid = opened
    values = _box(grid).astype(np.float32) * 0.7
    count = _volumes(scene)
    for overlay in (
        Overlay("uncertainty", Volume(values, grid.affine), (0.05, 1.0), "inferno"),
        Overlay(
            "tissues",
            Volume((values > 0).astype(np.uint8), grid.affine),
            (1, 2),
            "",
            {1: ("a", 9, 99, 199), 2: ("b", 1, 2, 3)},
        ),
    ):
        scene.show_overlay(overlay)
        assert _volumes(scene) == count + 1
        assert all(view.get_foreground_volume_id() for view in scene.slice_views)
    scene.show_prompts((Prompt("lesion", (1.0, 2.0, 3.0)),))
    scene.show_overlay(None)
    scene.show_prompts(())
    assert _volumes(scene) == count
    assert not any(view.get_foreground_volume_id() for view in scene.slice_views)


def test_another_sequence_of_the_visit_lies_in_its_own_place_under_the_same_mask(
    scene_and_record: tuple[Scene, Recorder],
) -> None:
    scene, record = scene_and_record
    record.painted.clear()
    affine = centred_affine(np.diag([2.1, 2.4, 3.0]), SHAPE)
    other = centred_affine(np.diag([-3.0, 3.0, 6.0]), (30, 30, 12))
    scene.show_case(_case(affine, _volume(other, (30, 30, 12))))
    mask = _box(Grid(SHAPE, affine))
    scene.show_mask(Volume(mask.astype(np.uint8), affine))
    first = scene.slice_views[0].get_background_volume_id()
    scene.show_sequence(1)
    assert scene.slice_views[0].get_background_volume_id() != first
    scene.tools.use("paint")
    _stroke(scene.slice_views[0], (230, 118), (240, 118))
    painted, _ = record.painted[-1]
    assert painted.shape == SHAPE
    assert (painted.astype(bool) | mask == painted.astype(bool)).all()
    scene.show_case(None)


def test_closing_a_case_leaves_no_nodes_behind(
    app: SlicerApp, scene_and_record: tuple[Scene, Recorder]
) -> None:
    scene, _ = scene_and_record
    affine = centred_affine(np.diag([2.1, 2.4, 3.0]), SHAPE)
    scene.show_case(_case(affine))
    scene.show_case(None)
    count = app.scene.GetNumberOfNodes()
    for _turn in range(3):
        scene.show_case(_case(affine))
        scene.show_mask(Volume(_box(Grid(SHAPE, affine)).astype(np.uint8), affine))
        scene.show_case(None)
    assert app.scene.GetNumberOfNodes() == count
    assert scene.mask() is None


def _volume(affine: np.ndarray, shape: tuple[int, int, int]) -> Volume:
    centre = (np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]).reshape(*shape, 3)
    return Volume((100 * (np.linalg.norm(centre, axis=-1) < 32)).astype(np.int16), affine)


def _case(affine: np.ndarray, *others: Volume) -> Case:
    scans = [_volume(affine, SHAPE), *others]
    sequences = tuple(Sequence(ImageEntry(f"sub-1_s{i}"), scan) for i, scan in enumerate(scans))
    mask = LesionMask.of(np.zeros(SHAPE, bool))
    return Case(sequences, mask, MaskHistory(mask))


def _box(grid: Grid) -> np.ndarray:
    mask = np.zeros(grid.shape, bool)
    mask[9:33, 8:29, 7:23] = True
    return mask


def _stroke(view: SliceView, *points: tuple[int, int]) -> None:
    """Press at the first point, draw through the others in small steps, release."""
    mouse = view.interactor()
    mouse.SetEventPosition(*points[0])
    mouse.InvokeEvent("MouseMoveEvent")
    mouse.InvokeEvent("LeftButtonPressEvent")
    for start, end in pairwise(points):
        for share in (0.34, 0.67, 1.0):
            place = (round(a + share * (b - a)) for a, b in zip(start, end, strict=True))
            mouse.SetEventPosition(*place)
            mouse.InvokeEvent("MouseMoveEvent")
    mouse.InvokeEvent("LeftButtonReleaseEvent")


def _picture(view: SliceView) -> np.ndarray:
    """What a view shows, (rows, columns, RGB)."""
    view.render_window().Render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(view.render_window())
    grab.ReadFrontBufferOff()
    grab.Update()
    columns, rows, _ = grab.GetOutput().GetDimensions()
    return vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(rows, columns, -1)


def _volumes(scene: Scene) -> int:
    return scene.app.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")


def _along_normals(scene: Scene, point: tuple[float, ...]) -> list[float]:
    offsets = []
    for view in scene.slice_views:
        to_ras = view.get_view_node().GetSliceToRAS()
        normal = np.array([to_ras.GetElement(row, 2) for row in range(3)])
        offsets.append(float(normal @ np.array(point)))
    return offsets
