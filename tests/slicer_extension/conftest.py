"""The library of the 3D Slicer module is imported from its folder, as Slicer does."""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

sys.path.insert(0, str(REPOSITORY / "slicer_extension" / "StrokeLabel"))
