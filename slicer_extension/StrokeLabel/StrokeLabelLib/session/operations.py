"""Operations that a view shows as buttons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..ops.interpolate import fill_between_slices
from ..ops.islands import keep_largest, remove_small
from ..ops.paint import limit_to_intensities, usual_intensities
from ..ops.shape import change_margin, fill_holes, smooth
from .case import Case

Parameters = Mapping[str, float]


@dataclass(frozen=True)
class Operation:
    """Operation on a mask.

    Attributes:
        title: of the button and of the step.
        tooltip: one sentence.
        run: from a case and parameters to the new mask, booleans (i, j, k).
        defaults: the parameters that a view may offer, with their units in their names.
    """

    title: str
    tooltip: str
    run: Callable[[Case, Parameters], np.ndarray]
    defaults: Parameters = field(default_factory=dict)


def _smooth(case: Case, p: Parameters) -> np.ndarray:
    return smooth(case.mask.current, case.grid.spacing_mm, p["radius_mm"])


def _margin(case: Case, p: Parameters) -> np.ndarray:
    return change_margin(case.mask.current, case.grid.spacing_mm, p["margin_mm"])


def _holes(case: Case, _: Parameters) -> np.ndarray:
    return fill_holes(case.mask.current)


def _small(case: Case, p: Parameters) -> np.ndarray:
    return remove_small(case.mask.current, p["min_ml"], case.grid.voxel_ml)


def _largest(case: Case, p: Parameters) -> np.ndarray:
    return keep_largest(case.mask.current, int(p["count"]))


def _between(case: Case, p: Parameters) -> np.ndarray:
    return fill_between_slices(case.mask.current, int(p["axis"]))


def _intensities(case: Case, p: Parameters) -> np.ndarray:
    """Limit the strokes only; the model's mask stays."""
    low, high = usual_intensities(case.scan.data, case.mask.current, p["share"])
    without = case.mask.base & ~case.mask.removed
    return limit_to_intensities(without, case.mask.current, case.scan.data, low, high)


def _clear(case: Case, _: Parameters) -> np.ndarray:
    return np.zeros_like(case.mask.base)


OPERATIONS: dict[str, Operation] = {
    "smooth": Operation("Smooth", "Round off corners; the volume stays.", _smooth, {"radius_mm": 2.0}),
    "margin": Operation(
        "Margin", "Grow by a margin in mm, or shrink if it is negative.", _margin, {"margin_mm": 1.0}
    ),
    "fill_holes": Operation("Fill holes", "Fill holes in the lesion.", _holes),
    "remove_small": Operation("Remove small", "Remove parts below a volume.", _small, {"min_ml": 0.1}),
    "keep_largest": Operation("Keep largest", "Keep only the largest parts.", _largest, {"count": 1}),
    "fill_between_slices": Operation(
        "Fill between slices", "Interpolate between the slices that are painted.", _between, {"axis": 2}
    ),
    "limit_to_intensities": Operation(
        "Limit strokes",
        "Keep only painted voxels that are as bright as the lesion.",
        _intensities,
        {"share": 0.9},
    ),
    "clear": Operation("Clear", "Remove the whole mask.", _clear),
}
"""By key, in the order of the buttons."""
