"""Masks as segments, with their DICOM terminology."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import vtk

from ..errors import FileFormatError, GeometryError
from ..ops.regions import bounding_box
from ..volume import Grid, Volume, onto_grid
from .volumes import from_image, from_matrix, right_handed, to_image, to_matrix

LESION_ID = "lesion"
OPACITY_2D_FILL, OPACITY_3D = 0.35, 1.0

_Logic = slicer.vtkSlicerSegmentationsModuleLogic


def add_segmentation(
    scene: slicer.vtkMRMLScene, scan: slicer.vtkMRMLScalarVolumeNode, name: str
) -> slicer.vtkMRMLSegmentationNode:
    """Put a segmentation with one empty segment "lesion" into a scene, in the geometry of a scan."""
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(name)
    scene.AddNode(node)
    display = slicer.vtkMRMLSegmentationDisplayNode()
    scene.AddNode(display)
    node.SetAndObserveDisplayNodeID(display.GetID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    segment = slicer.vtkSegment()
    describe_lesion(segment)
    node.GetSegmentation().AddSegment(segment, LESION_ID)
    display.SetAllSegmentsOpacity2DFill(OPACITY_2D_FILL)
    display.SetAllSegmentsOpacity3D(OPACITY_3D)
    return node


def show_mask(node: slicer.vtkMRMLSegmentationNode, mask: Volume, segment_id: str = LESION_ID) -> None:
    """Replace a segment's voxels by a mask's.

    Args:
        node: the segmentation.
        mask: non-zero inside; any orientation.
        segment_id: of the segment.

    Raises:
        GeometryError: the segment is not there.
    """
    image = to_oriented_image(mask)
    if not _Logic.SetBinaryLabelmapToSegment(image, node, segment_id):
        raise GeometryError(
            "The mask could not be shown: the segmentation has lost its segment; open the scan again."
        )


def mask_of(node: slicer.vtkMRMLSegmentationNode, grid: Grid, segment_id: str = LESION_ID) -> Volume:
    """Return a segment on a scan's own grid: uint8, 1 inside, in the order of the scan's file, not of Slicer's memory.

    Args:
        node: the segmentation.
        grid: of the scan, as the server sent it.
        segment_id: of the segment.

    Raises:
        GeometryError: the segment is not there, or does not lie on the scan's voxels.
    """
    image = slicer.vtkOrientedImageData()
    if node.GetSegmentation().GetSegment(segment_id) is None:
        raise GeometryError("The segment of the lesion was removed; undo that, or open the scan again.")
    _Logic.GetSegmentBinaryLabelmapRepresentation(node, segment_id, image)
    if min(image.GetDimensions()) < 1 or image.GetPointData().GetScalars() is None:
        return Volume(np.zeros(grid.shape, np.uint8), grid.affine)
    data = (from_image(image) > 0).astype(np.uint8)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    affine = from_matrix(matrix)
    affine[:3, 3] += affine[:3, :3] @ np.array(image.GetExtent()[::2], float)
    return onto_grid(Volume(data, affine), grid)


def to_oriented_image(mask: Volume) -> slicer.vtkOrientedImageData:
    """Return a mask as the image type of segments, cropped to what is set: surfaces and merging then cost little."""
    placed = right_handed(mask)
    inside = placed.data > 0
    box = bounding_box(inside) or (slice(0, 1),) * 3
    image = to_image(inside[box], slicer.vtkOrientedImageData())
    image.SetExtent(*(end for side in box for end in (side.start, side.stop - 1)))
    image.SetImageToWorldMatrix(to_matrix(placed.affine))
    return image


def save_segmentation(node: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
    """Write a .seg.nrrd, with codes and colours.

    Raises:
        FileFormatError: it cannot be written.
    """
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise FileFormatError(
            f"{path.name} could not be written; check the folder, and that it ends in .seg.nrrd."
        )


CONTEXT = "StrokeLabel: stroke lesions"
"""Name of the terminology in Resources/StrokeLabel.term.json."""

CATEGORY = ("SCT", "49755003", "Morphologically Altered Structure")
INFARCT = ("SCT", "55641003", "Infarct")
BRAIN = ("SCT", "12738006", "Brain")
LESION_COLOR = (230, 60, 50)
"""8-bit RGB, as the server shows lesions."""


def infarct_entry() -> str:
    """Return the serialised entry "infarct in the brain".

    Its parts: context, category, type, modifier; regional context, region, modifier.
    """
    parts = (CONTEXT, "^".join(CATEGORY), "^".join(INFARCT), "^^", CONTEXT, "^".join(BRAIN), "^^")
    return "~".join(parts)


def describe_lesion(segment: slicer.vtkSegment) -> None:
    """Give a segment the name, the codes and the colour of a lesion."""
    segment.SetName("lesion")
    red, green, blue = (value / 255 for value in LESION_COLOR)
    segment.SetColor(red, green, blue)
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), infarct_entry())
