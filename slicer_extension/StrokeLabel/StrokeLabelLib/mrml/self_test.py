"""A self test that runs inside 3D Slicer, by CTest, and with slicer-core."""

from __future__ import annotations

import unittest

import numpy as np
import slicer

from ..client.answers import ImageEntry
from ..ops.strokes import LesionMask
from ..session.case import Case, MaskHistory, Sequence
from ..volume import Volume
from .case_nodes import CaseNodes
from .segments import infarct_entry

SHAPE = (11, 13, 7)


class StrokeLabelSelfTest(unittest.TestCase):
    """Masks go into a segment and come back, for right-handed and left-handed scans."""

    def setUp(self) -> None:
        """Make an empty scene that the Segmentations module knows."""
        self.scene = slicer.vtkMRMLScene()
        self.logic = slicer.vtkSlicerSegmentationsModuleLogic()
        self.logic.SetMRMLScene(self.scene)

    def test_masks_come_back_voxel_for_voxel(self) -> None:
        """Check that masks are read back as they are shown, in the order of the scan's file."""
        for signs in ((1, 1, 1), (-1, 1, 1), (-1, -1, -1)):
            affine = np.diag([*np.multiply(signs, (1.1, 1.2, 2.5)), 1.0])
            affine[:3, 3] = (5, -7, 11)
            nodes = CaseNodes(self.scene)
            nodes.show_case(_case(affine))
            mask = np.zeros(SHAPE, np.uint8)
            mask[2:5, 3:9, 1:3] = 1
            nodes.show_mask(Volume(mask, affine))
            self.assertTrue(np.array_equal(nodes.painted_mask().data, mask))
            nodes.remove()
            self.assertEqual(self.scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"), 0)

    def test_the_segment_is_an_infarct(self) -> None:
        """Check that the codes are those of SNOMED CT."""
        nodes = CaseNodes(self.scene)
        nodes.show_case(_case(np.eye(4)))
        assert nodes.segmentation is not None
        segment = nodes.segmentation.GetSegmentation().GetSegment("lesion")
        self.assertIn("55641003", infarct_entry())
        self.assertEqual(segment.GetTerminology(), infarct_entry())


def _case(affine: np.ndarray) -> Case:
    mask = LesionMask.of(np.zeros(SHAPE, bool))
    scan = Volume(np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE), affine)
    return Case((Sequence(ImageEntry("self-test"), scan),), mask, MaskHistory(mask))
