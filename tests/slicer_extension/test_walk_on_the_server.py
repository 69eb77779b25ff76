"""The walk of an annotator against the real MONAI Label server, for scans stored in every way.

The submitted label equals the intended mask voxel for voxel on the server's grid, and lies at the same place in mm.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from StrokeLabelLib.volume import onto_grid

from support import app_server
from support.fake_view import FakeView, make_presenter
from support.mrml_view import MrmlView
from support.walk_data import AFFINES, LESION_MM, beside_lesion, scan_and_lesion

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("slicer-extension-server")]

VIEWS = {"arrays": FakeView, "mrml": MrmlView}


def image_id(axes: str) -> str:
    return f"sub-{axes}_T1w"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, bright_model: Path) -> Iterator[app_server.Server]:
    studies = tmp_path_factory.mktemp("studies")
    for axes, affine in AFFINES.items():
        image = nib.Nifti1Image(scan_and_lesion(affine)[0], affine)
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)
        nib.save(image, studies / f"{image_id(axes)}.nii.gz")
    running = app_server.start(tmp_path_factory.mktemp("server"), studies, "model", str(bright_model))
    yield running
    assert app_server.stop(running) == []


@pytest.mark.parametrize("kind", list(VIEWS))
@pytest.mark.parametrize("axes", list(AFFINES))
def test_what_is_submitted_is_what_was_meant(
    server: app_server.Server, tmp_path: Path, axes: str, kind: str
) -> None:
    presenter, view, _ = make_presenter(tmp_path, VIEWS[kind]())
    presenter.connection.connect(server.url)
    presenter.cases.open(image_id(axes))
    presenter.segmentation.segment()
    assert not view.errors
    _, lesion = scan_and_lesion(AFFINES[axes])
    assert view.state.measurements.dice_to_model == 1 and view.state.measurements.count == 1
    predicted = onto_grid(view.mask, view.case.grid).data > 0
    assert 2 * (predicted & lesion).sum() / (predicted.sum() + lesion.sum()) > 0.75
    if view.state.can("threshold"):
        presenter.segmentation.set_threshold(0.4)
    strokes = [beside_lesion(0, 20, 0), beside_lesion(2.1, 20, 0), beside_lesion(-20, 0, 5)]
    view.paint(presenter, strokes)
    presenter.segmentation.add_prompt("remove island", tuple(beside_lesion(-20, 0, 5)))
    presenter.editing.undo()
    presenter.editing.redo()
    before = view.state.measurements.volume_ml
    presenter.segmentation.add_prompt("not lesion", tuple(beside_lesion(7, 0, 0)))
    assert not view.errors and view.state.measurements.volume_ml < before
    intended = view.case.mask.current.copy()
    presenter.submission.submit()
    assert not view.errors and not view.state.dirty
    stored = nib.load(server.studies / "labels" / "final" / f"{image_id(axes)}.nii.gz")
    assert stored.shape == lesion.shape and np.allclose(stored.affine, AFFINES[axes], atol=1e-3)
    labels = np.asarray(stored.dataobj)
    assert np.array_equal(labels > 0, intended)
    i, j, k = view.case.grid.to_voxel(beside_lesion(0, 20, 0))
    assert labels[i, j, k] == 1
    center = nib.affines.apply_affine(stored.affine, np.argwhere(labels)).mean(axis=0)
    assert np.linalg.norm(center - LESION_MM) < 4


def test_the_case_list_follows_what_was_submitted(server: app_server.Server, tmp_path: Path) -> None:
    presenter, view, _ = make_presenter(tmp_path, strategy="first")
    presenter.connection.connect(server.url)
    submitted = {image.image_id for image in view.state.images if image.status == "submitted"}
    presenter.cases.next()
    assert view.state.open_image not in submitted and not view.errors
    assert presenter.session.info.trainers and "segment" in view.state.model


def test_a_scan_that_cannot_be_segmented_is_explained_by_the_server(
    server: app_server.Server, tmp_path: Path
) -> None:
    constant = nib.Nifti1Image(np.full((9, 8, 7), 3, np.float32), np.eye(4))
    nib.save(constant, tmp_path / "constant.nii.gz")
    presenter, view, _ = make_presenter(tmp_path)
    presenter.connection.connect(server.url)
    presenter.cases.upload(tmp_path / "constant.nii.gz")
    assert len(view.errors) == 1 and "constant" in view.errors[0] and "{" not in view.errors[0]
