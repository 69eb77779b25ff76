"""Editing by the annotator: brush strokes, operations, undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import StrokeLabelLibError
from ..ops.regions import change_margin, fill_between_slices, fill_holes, keep_largest, remove_small, smooth
from ..ops.strokes import LesionMask, limit_to_intensities, usual_intensities
from ..volume import Volume, onto_grid
from .case import Case, Step
from .segmentation import record
from .session import Session


class Editing:
    """Commands that change the mask here, without the server."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def mask_edited(self, mask: Volume, name: str = "Paint") -> None:
        """Take what the user painted in the view: call it when a stroke ends. It is not shown again.

        Args:
            mask: non-zero inside the lesion; it may be flipped, reordered or cropped, but lies on the scan's voxels.
            name: of the step: "Paint", "Erase", "Scissors".
        """
        session, case = self._session, self._session.case
        if not session.allow("edit") or case is None:
            return
        try:
            after = onto_grid(mask, case.grid).data > 0
        except StrokeLabelLibError as error:
            session.fail(error)
            session.mask_changed()  # back to what is known
            return
        if (after == case.mask.current).all():
            return
        case.mask = case.mask.edited(after)
        record(session, case, name)

    def apply(self, operation: str, **parameters: float) -> None:
        """Apply an operation of `OPERATIONS` to the mask: one step.

        Args:
            operation: its key.
            parameters: instead of its defaults.
        """
        session, case = self._session, self._session.case
        if not session.allow("apply") or case is None:
            return
        chosen = OPERATIONS[operation]
        try:
            after = chosen.run(case, {**chosen.defaults, **parameters})
        except StrokeLabelLibError as error:
            session.fail(error)
            return
        # otherwise Segment would find everything erased
        self._take(after, chosen.title, forget_strokes=operation == "clear")

    def undo(self) -> None:
        """Take back the last step."""
        case = self._session.case
        if self._session.allow("undo") and case is not None:
            name = case.history.undo_name
            self._go_to(case.history.undo(), f"Undone: {name}.")

    def redo(self) -> None:
        """Do again what was taken back."""
        case = self._session.case
        if self._session.allow("redo") and case is not None:
            name = case.history.redo_name
            self._go_to(case.history.redo(), f"Redone: {name}.")

    def _take(self, after: np.ndarray, name: str, forget_strokes: bool = False) -> None:
        session, case = self._session, self._session.case
        if case is None:
            return
        if (after == case.mask.current).all():
            session.status = f"{name}: nothing to change."
            session.render()
            return
        case.mask = LesionMask.of(after) if forget_strokes else case.mask.edited(after)
        session.status = f"{name}."
        record(session, case, name)

    def _go_to(self, step: Step | None, status: str) -> None:
        session, case = self._session, self._session.case
        if step is None or case is None:
            return
        case.mask, case.provenance.threshold, case.dirty = step.mask.unpack(), step.threshold, True
        case.provenance.edits.append(status.rstrip("."))
        session.status = status
        session.mask_changed()
        session.render()


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
