"""Result of a fine-tuning session."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from strokelabel.fit.fine_tuning.activation import Decision


class FineTuneResult(BaseModel):
    """Outcome of a session.

    Attributes:
        session: the same labels, options and starting weights have the same.
        stopped_by: why training ended, see `fit.loop.StopReason`.
        judged: whether new weights were made and compared; a session that was stopped on request is resumed instead,
            the next time.
        steps: optimiser steps done.
        total_steps: of the schedule.
        seconds: training time.
        version: name of the new version; None if it was not judged.
        active: name of the version that is active now.
        decision: what was decided, by which numbers.
        share: how much of the way from the weights that it began with to those that training ended with was kept.
        train: names of the scans that were trained on.
        validation: names of those held out.
        refused: name → why a submitted label was left out.
        pasted: how many submitted lesions went into synthetic heads.
        synthetic_fraction: of the training items.
        benchmark: what its numbers are comparable with; None where there was none.
        repeated: whether this is the recorded result of an earlier, equal session.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    session: str
    stopped_by: str
    judged: bool
    steps: int
    total_steps: int
    seconds: float
    version: str | None
    active: str
    decision: Decision | None
    train: tuple[str, ...]
    validation: tuple[str, ...]
    refused: dict[str, str]
    pasted: int
    synthetic_fraction: float
    benchmark: dict[str, Any] | None
    repeated: bool = False
    share: float = 1.0

    def __str__(self) -> str:
        if self.decision is None:
            return f"stopped after {self.steps} of {self.total_steps} steps; the next start resumes there"
        if self.repeated:
            return f"these labels and options gave version {self.version} before; {self.active} is active"
        part = f" with {self.share:.0%} of what training changed" if self.share < 1 else ""
        verdict = f"activated{part}" if self.decision.activate else f"not activated, {self.active} stays"
        return f"version {self.version} {verdict}: " + "; ".join(self.decision.reasons)
