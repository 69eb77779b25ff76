"""For CTest: slicer_add_python_unittest runs the test cases of this file inside 3D Slicer."""

from StrokeLabelLib.mrml.self_test import StrokeLabelSelfTest

__all__ = ["StrokeLabelSelfTest"]
