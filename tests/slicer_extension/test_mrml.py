"""Volumes, masks, overlays and clicks keep their places on the way through MRML, for every storage order."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import slicer
from StrokeLabelLib.mrml.overlays import (
    add_overlay,
    add_prompt_lists,
    last_point,
    show_in_slices,
    show_prompts,
)
from StrokeLabelLib.mrml.segments import (
    add_segmentation,
    infarct_entry,
    mask_of,
    save_segmentation,
    show_mask,
)
from StrokeLabelLib.mrml.volumes import add_volume, remove, right_handed, volume_of
from StrokeLabelLib.session.view import Overlay, Prompt
from StrokeLabelLib.volume import Volume, onto_grid

from support.mrml_view import new_scene
from support.walk_data import AFFINES, SHAPE, scan_and_lesion

affines = pytest.mark.parametrize("name", list(AFFINES))


@pytest.fixture
def scene() -> slicer.vtkMRMLScene:
    return new_scene()


def volume_and_mask(name: str) -> tuple[Volume, Volume]:
    scan, lesion = scan_and_lesion(AFFINES[name])
    return Volume(scan, AFFINES[name]), Volume(lesion.astype(np.uint8), AFFINES[name])


@affines
def test_a_volume_lies_where_its_file_says_and_comes_back_in_the_files_order(
    scene: slicer.vtkMRMLScene, name: str
) -> None:
    volume, _ = volume_and_mask(name)
    held = volume_of(add_volume(scene, volume, "scan"))
    assert np.linalg.det(held.affine[:3, :3]) > 0
    back = onto_grid(held, volume.grid)
    assert np.array_equal(back.data, volume.data)


@affines
def test_a_volume_is_held_as_slicer_itself_holds_the_file(
    scene: slicer.vtkMRMLScene, tmp_path: Path, name: str
) -> None:
    volume, _ = volume_and_mask(name)
    path = tmp_path / "scan.nii.gz"
    image = nib.Nifti1Image(volume.data, volume.affine)
    image.set_sform(volume.affine, 1)
    nib.save(image, path)
    node, storage = slicer.vtkMRMLScalarVolumeNode(), slicer.vtkMRMLVolumeArchetypeStorageNode()
    scene.AddNode(node)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    read, ours = volume_of(node), volume_of(add_volume(scene, volume, "scan"))
    assert np.allclose(read.affine, ours.affine, atol=1e-4) and np.array_equal(read.data, ours.data)


@affines
def test_a_mask_goes_into_a_segment_and_comes_back_voxel_for_voxel(
    scene: slicer.vtkMRMLScene, name: str
) -> None:
    volume, mask = volume_and_mask(name)
    node = add_segmentation(scene, add_volume(scene, volume, "scan"), "mask")
    assert not mask_of(node, volume.grid).data.any()
    show_mask(node, mask)
    assert np.array_equal(mask_of(node, volume.grid).data, mask.data)
    smaller = np.zeros_like(mask.data)
    smaller[tuple(np.argwhere(mask.data)[0])] = 1
    show_mask(node, mask.with_data(smaller))
    assert np.array_equal(mask_of(node, volume.grid).data, smaller)
    show_mask(node, mask.with_data(np.zeros_like(smaller)))
    assert not mask_of(node, volume.grid).data.any()


@affines
def test_a_segment_cropped_to_what_is_painted_comes_back_in_its_place(
    scene: slicer.vtkMRMLScene, name: str
) -> None:
    volume, mask = volume_and_mask(name)
    node = add_segmentation(scene, add_volume(scene, volume, "scan"), "mask")
    show_mask(node, mask)
    image = node.GetSegmentation().GetSegment("lesion").GetRepresentation("Binary labelmap")
    extent = [0] * 6
    assert slicer.vtkOrientedImageDataResample.CalculateEffectiveExtent(image, extent)
    cropped = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.CopyImage(image, cropped, extent)
    image.DeepCopy(cropped)
    assert image.GetDimensions() != SHAPE
    assert np.array_equal(mask_of(node, volume.grid).data, mask.data)


def test_a_segment_says_infarct_in_a_file_that_slicer_reads_back(
    scene: slicer.vtkMRMLScene, tmp_path: Path
) -> None:
    volume, mask = volume_and_mask("LIA")
    node = add_segmentation(scene, add_volume(scene, volume, "scan"), "mask")
    show_mask(node, mask)
    path = tmp_path / "mask.seg.nrrd"
    save_segmentation(node, path)
    back, storage = slicer.vtkMRMLSegmentationNode(), slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(back)
    storage.SetFileName(str(path))
    assert storage.ReadData(back)
    segment = back.GetSegmentation().GetSegment("lesion")
    assert segment.GetName() == "lesion" and "55641003" in infarct_entry()
    assert segment.GetTerminology() == infarct_entry()
    assert np.array_equal(mask_of(back, volume.grid).data, mask.data)


def test_an_overlay_is_the_foreground_of_every_slice_view(scene: slicer.vtkMRMLScene) -> None:
    volume, mask = volume_and_mask("LAS")
    composites = [slicer.vtkMRMLSliceCompositeNode() for _ in range(3)]
    for at, composite in enumerate(composites):
        composite.SetLayoutName(f"view{at}")
        scene.AddNode(composite)
    background = add_volume(scene, volume, "scan")
    overlay = Overlay("uncertainty", volume.with_data(mask.data.astype(np.float32) * 0.4), (0.05, 0.4))
    node = add_overlay(scene, overlay)
    show_in_slices(scene, background, node, 0.5)
    for composite in composites:
        assert composite.GetForegroundVolumeID() == node.GetID() and composite.GetForegroundOpacity() == 0.5
        assert composite.GetBackgroundVolumeID() == background.GetID()
    display = node.GetDisplayNode()
    assert display.GetApplyThreshold() and display.GetLowerThreshold() == pytest.approx(0.05)
    colors = display.GetColorNode()
    first, last = [0.0] * 4, [0.0] * 4
    colors.GetColor(0, first)
    colors.GetColor(255, last)
    assert sum(first[:3]) < 0.1 and last[:3] == pytest.approx([252 / 255, 1, 164 / 255], abs=0.01)
    show_in_slices(scene, background, None, 0.5)
    remove(scene, node)
    assert composites[0].GetForegroundVolumeID() is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def test_tissue_overlays_have_one_colour_per_label(scene: slicer.vtkMRMLScene) -> None:
    volume, mask = volume_and_mask("RAS")
    overlay = Overlay("tissues", volume.with_data(mask.data * 5), (1, 5), "", {5: ("lesion", 230, 60, 50)})
    colors = add_overlay(scene, overlay).GetDisplayNode().GetColorNode()
    color = [0.0] * 4
    colors.GetColor(5, color)
    assert color[:3] == pytest.approx([230 / 255, 60 / 255, 50 / 255], abs=0.01)
    assert colors.GetColorName(5) == "lesion"


def test_clicks_are_points_by_kind(scene: slicer.vtkMRMLScene) -> None:
    lists = add_prompt_lists(scene)
    show_prompts(
        lists, (Prompt("lesion", (1, 2, 3)), Prompt("not lesion", (4, 5, 6)), Prompt("lesion", (7, 8, 9)))
    )
    assert lists["lesion"].GetNumberOfControlPoints() == 2
    assert last_point(lists["lesion"]) == (7, 8, 9) and last_point(lists["not lesion"]) == (4, 5, 6)
    show_prompts(lists, ())
    assert last_point(lists["lesion"]) is None


def test_right_handed_images_are_left_alone() -> None:
    volume, _ = volume_and_mask("RAS")
    assert right_handed(volume) is volume
