"""Showing how training goes: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

LINE_SECONDS = 30.0
"""Interval between lines where there is no terminal."""


@dataclass(frozen=True)
class TrainingProgress:
    """Progress of a run.

    Attributes:
        step: optimiser steps done.
        steps: steps of the whole schedule.
        loss: loss of the last step; on a GPU of two steps earlier, and NaN before there is one.
        seconds_per_step: average over this invocation.
        best_metric: best validation metric so far, if there was a validation.
        metric_label: what it measures.
    """

    step: int
    steps: int
    loss: float
    seconds_per_step: float
    best_metric: float | None
    metric_label: str = "lesion Dice"

    def __str__(self) -> str:
        best = "" if self.best_metric is None else f"  best {self.metric_label} {self.best_metric:.3f}"
        return f"loss {self.loss:.4f}  {self.seconds_per_step:.2f} s/step{best}"


class ProgressDisplay:
    """Progress bar on standard error; used as a context."""

    def __init__(self, steps: int, done: int, *, enabled: bool = True) -> None:
        # Not needed with another kind of progress display.
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True, quiet=not enabled, soft_wrap=True)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            disable=not (enabled and self._console.is_terminal),
            refresh_per_second=2,
        )
        self._task = self._bar.add_task("", total=steps, completed=done)
        self._last_line = float("-inf")

    def __enter__(self) -> Self:
        if not self._bar.disable:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._bar.disable:
            self._bar.stop()

    def show(self, progress: TrainingProgress) -> None:
        """Show a finished step."""
        if not self._bar.disable:
            self._bar.update(self._task, completed=progress.step, description=str(progress))
        elif progress.step == progress.steps or time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            self._console.print(f"step {progress.step}/{progress.steps}  {progress}", highlight=False)
