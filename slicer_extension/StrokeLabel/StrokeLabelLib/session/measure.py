"""Read-outs of the mask."""

from __future__ import annotations

from ..ops.statistics import count_islands, dice, volume_ml
from .case import Case
from .view import Measurements


def measure(case: Case) -> Measurements:
    """Measure the volume and number of lesions, and the changes from the model's mask."""
    mask, voxel_ml = case.mask.current, case.grid.voxel_ml
    overlap = changed = None
    if case.model_mask is not None:
        overlap = dice(mask, case.model_mask)
        changed = volume_ml(mask != case.model_mask, voxel_ml)
    return Measurements(volume_ml(mask, voxel_ml), count_islands(mask), overlap, changed)
