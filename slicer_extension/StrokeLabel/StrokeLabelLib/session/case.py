"""Open scan, and all state of its mask, with undo and redo in steps that have names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..client.answers import ORIGINAL, ImageEntry, LabelEntry
from ..ops.strokes import LesionMask, PackedMask
from ..volume import Grid, Volume


@dataclass(frozen=True, eq=False)
class Sequence:
    """One scan of a visit.

    Attributes:
        image: its entry in the datastore.
        volume: its voxels, on its own grid.
    """

    image: ImageEntry
    volume: Volume


@dataclass
class Provenance:
    """Provenance of a mask; it is submitted with the mask.

    Attributes:
        start: "empty", "label final", "label original", "working copy", or "model <name>".
        model: what the server said about the model that made the mask, if one did.
        threshold: on the lesion's probability; None for the model's own decision.
        edits: names of the steps taken since, in order.
    """

    start: str = "empty"
    model: dict[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    edits: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the provenance for the label's info."""
        return {
            "start": self.start,
            "model": self.model,
            "threshold": self.threshold,
            "edits": self.edits[-100:],
        }


@dataclass(frozen=True, eq=False)
class WorkingCopy:
    """A mask as it was when it was saved.

    Attributes:
        path: its file; a NIfTI, so that any tool can read it.
        mask: with its strokes.
        saved_at: seconds since 1970.
        model, threshold, edits: its provenance.
    """

    path: Path
    mask: LesionMask
    saved_at: float
    model: dict[str, Any]
    threshold: float | None
    edits: tuple[str, ...]


@dataclass(eq=False)
class Case:
    """A scan with its mask.

    Attributes:
        sequences: all scans of the visit; the first is the one that the mask belongs to.
        mask: what the model said, and what the annotator painted.
        history: named steps, for undo and redo.
        probability: of lesion, float32 (i, j, k), once the server sent it.
        uncertainty: float32 (i, j, k), once the server sent it.
        tissues: labels (i, j, k), once the server sent them.
        model_mask: what the model answered last, before any edit.
        asked: the task and the options of that answer; None before the first.
        structures: that the lesion of `model_mask` touches, as the server told them; empty where it did not.
        outcome: estimated of that lesion, or why none is, as the server told it; empty where it did not.
        stroke_stage: of the stroke, as the user says, for that estimate; "" where nothing was said.
        dirty: whether there is work that was not submitted.
        known_label: the final label that the server had when the case was opened, or that was submitted since.
        opened_at: seconds of the session's clock.
        restored: the working copy that the mask came from, if it did.
    """

    sequences: tuple[Sequence, ...]
    mask: LesionMask
    history: MaskHistory
    provenance: Provenance = field(default_factory=Provenance)
    asked: tuple[str, dict[str, Any]] | None = None
    probability: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    tissues: np.ndarray | None = None
    model_mask: np.ndarray | None = None
    structures: Mapping[str, Any] = field(default_factory=dict)
    outcome: Mapping[str, Any] = field(default_factory=dict)
    stroke_stage: str = ""
    dirty: bool = False
    known_label: LabelEntry | None = None
    opened_at: float = 0.0
    restored: WorkingCopy | None = None

    @property
    def image(self) -> ImageEntry:
        """Datastore's entry of the scan that the mask belongs to."""
        return self.sequences[0].image

    @property
    def scan(self) -> Volume:
        """Scan that the mask belongs to."""
        return self.sequences[0].volume

    @property
    def grid(self) -> Grid:
        """Grid of the scan's voxels."""
        return self.scan.grid

    @property
    def mask_volume(self) -> Volume:
        """Mask as uint8 (i, j, k), 1 inside the lesion, on the scan's grid."""
        return Volume(self.mask.current.astype(np.uint8), self.grid.affine)

    @property
    def is_pseudo_label(self) -> bool:
        """True if the model's label is still to be accepted, corrected or rejected."""
        return self.image.status == "pseudo-label" and self.image.labels[ORIGINAL].status != "rejected"


MOST_STEPS = 100
"""A step of a 256 x 256 x 256 scan takes a few kilobytes."""


@dataclass(frozen=True)
class Step:
    """A state of the mask.

    Attributes:
        name: of what led to it, for users: "Paint", "Threshold 0.4".
        mask: what it was.
        threshold: that made its base; None for the model's own decision, or none.
    """

    name: str
    mask: PackedMask
    threshold: float | None = None


class MaskHistory:
    """History of one case's mask; the first state cannot be undone.

    One user action is one step: brush, slider, operation or server. Views keep no history of
    their own, so that Undo takes back what was done last and nothing else.
    """

    def __init__(self, mask: LesionMask, threshold: float | None = None) -> None:
        self._steps = [Step("Open", PackedMask.pack(mask), threshold)]
        self._at = 0

    def record(self, name: str, mask: LesionMask, threshold: float | None = None) -> None:
        """Note a new state; what was undone before can no longer be redone."""
        del self._steps[self._at + 1 :]
        self._steps.append(Step(name, PackedMask.pack(mask), threshold))
        if len(self._steps) > MOST_STEPS:
            del self._steps[1]  # the first stays, so that the beginning can always be restored
        self._at = len(self._steps) - 1

    @property
    def undo_name(self) -> str:
        """Name of the step that Undo would undo; "" if there is none."""
        return self._steps[self._at].name if self._at > 0 else ""

    @property
    def redo_name(self) -> str:
        """Name of the step that Redo would redo; "" if there is none."""
        return self._steps[self._at + 1].name if self._at + 1 < len(self._steps) else ""

    def undo(self) -> Step | None:
        """Go one step back and return the state there; None at the beginning."""
        if self._at == 0:
            return None
        self._at -= 1
        return self._steps[self._at]

    def redo(self) -> Step | None:
        """Go one step forward and return the state there; None at the end."""
        if self._at + 1 == len(self._steps):
            return None
        self._at += 1
        return self._steps[self._at]
