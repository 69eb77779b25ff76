"""The test that 3D Slicer runs inside itself also passes with slicer-core."""

from __future__ import annotations

from StrokeLabelLib.mrml.self_test import StrokeLabelSelfTest

__all__ = ["StrokeLabelSelfTest"]
