"""Whatever Slicer can read is uploaded with every voxel in its place: DICOM series, NRRD, MetaImage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from StrokeLabelLib.errors import FileFormatError
from StrokeLabelLib.mrml.case_nodes import CaseNodes
from StrokeLabelLib.mrml.files import MrmlFiles
from StrokeLabelLib.mrml.self_test import _case
from StrokeLabelLib.nifti import NiftiFiles
from StrokeLabelLib.volume import Volume, onto_grid

from support.dicom_writer import write_series
from support.mrml_view import new_scene
from support.walk_data import AFFINES, SHAPE, scan_and_lesion


@pytest.mark.parametrize("axes", ["LAS", "oblique"])
def test_a_dicom_series_is_read_with_every_slice_in_its_place(tmp_path: Path, axes: str) -> None:
    data = scan_and_lesion(AFFINES[axes])[0].astype(np.int16)
    data[3, 4, :] = 2 * np.arange(SHAPE[2])  # tells slices apart
    files = write_series(tmp_path / "series", data, AFFINES[axes])
    read = MrmlFiles().read(tmp_path / "series")
    assert np.array_equal(onto_grid(read, Volume(data, AFFINES[axes]).grid).data, data)
    with pytest.raises(FileFormatError, match="choose the series' folder"):
        MrmlFiles().read(files[0])
    files[7].unlink()
    with pytest.raises(FileFormatError, match="a slice is missing"):
        MrmlFiles().read(tmp_path / "series")
    write_series(tmp_path / "series", data[:, :30], AFFINES[axes], "another")
    with pytest.raises(FileFormatError, match="choose one series"):
        MrmlFiles().read(tmp_path / "series")


def test_two_images_at_one_place_are_refused(tmp_path: Path) -> None:
    data = np.zeros((6, 7, 1), np.int16)
    for name in ("first echo", "second echo"):
        write_series(tmp_path, data, AFFINES["RAS"], name)
    with pytest.raises(FileFormatError, match="several images at one place"):
        MrmlFiles().read(tmp_path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize("axes", list(AFFINES))
def test_other_formats_keep_the_place(tmp_path: Path, axes: str, suffix: str) -> None:
    volume = Volume(scan_and_lesion(AFFINES[axes])[0], AFFINES[axes])
    path = tmp_path / f"scan{suffix}"
    MrmlFiles().write(path, volume)
    assert np.array_equal(onto_grid(MrmlFiles().read(path), volume.grid).data, volume.data)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_nifti_is_placed_as_the_server_places_it_even_where_slicer_would_not(tmp_path: Path) -> None:
    import nibabel as nib

    data, affine = scan_and_lesion(AFFINES["LAS"])[0], AFFINES["LAS"]
    image = nib.Nifti1Image(data, affine)
    moved = affine.copy()
    moved[:3, 3] += 9
    image.set_sform(affine, 2)
    image.set_qform(moved, 1)
    nib.save(image, tmp_path / "scan.nii.gz")
    expected = nib.load(tmp_path / "scan.nii.gz").affine
    for files in (NiftiFiles(), MrmlFiles()):
        assert np.allclose(files.read(tmp_path / "scan.nii.gz").affine, expected, atol=1e-4)


def test_what_is_no_image_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.nrrd").write_text("no image")
    for path, words in ((tmp_path / "empty", "found no file"), (tmp_path / "text.nrrd", "found none")):
        with pytest.raises(FileFormatError, match=words):
            MrmlFiles().read(path)


def test_only_nodes_of_the_case_are_removed_from_a_scene_that_holds_others() -> None:
    scene = new_scene()
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "somebody else's")
    before = scene.GetNumberOfNodes()
    nodes = CaseNodes(scene)
    for _ in range(3):
        nodes.show_case(_case(np.diag([-1.0, 1.0, 2.0, 1.0])))
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    nodes.remove()
    assert scene.GetFirstNodeByName("somebody else's") is not None and scene.GetNumberOfNodes() == before
