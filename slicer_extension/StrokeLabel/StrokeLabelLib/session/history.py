"""Undo and redo in steps that have names."""

from __future__ import annotations

from dataclasses import dataclass

from ..ops.strokes import LesionMask, PackedMask

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
