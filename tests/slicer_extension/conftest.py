"""The library of the 3D Slicer module is imported from its folder, as Slicer does."""

from __future__ import annotations

import sys
from pathlib import Path

EXTENSION = Path(__file__).parents[2] / "slicer_extension"

sys.path.insert(0, str(EXTENSION / "StrokeLabel"))
