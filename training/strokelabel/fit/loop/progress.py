"""Progress of training, and stopping it on request: all processes of a run stop at the same step."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

import torch
import torch.distributed
from lightning_fabric import Fabric

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


class Interruption:
    """Request to stop training."""

    def __init__(self, wanted: Callable[[], bool] | None = None) -> None:
        self._wanted = wanted
        self._signalled = False

    def __bool__(self) -> bool:
        return self._signalled or (self._wanted is not None and self._wanted())

    @contextmanager
    def on_signals(self) -> Iterator[Self]:
        """Ask to stop on SIGINT and SIGTERM within the block; a second one acts as it did before.

        Outside the main thread, where Python allows no signal handlers, the block changes nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def request_stop(number: int, frame: FrameType | None) -> None:
            self._signalled = True
            signal.signal(number, previous[signal.Signals(number)])

        for number in previous:
            signal.signal(number, request_stop)
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class Agreement:
    """Small numbers exchanged between processes on the CPU, so that no GPU has to be waited for.

    Args:
        fabric: launched; with one process, everything is agreed at once.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._group: Any = torch.distributed.new_group(backend="gloo") if fabric.world_size > 1 else None

    def largest(self, *values: int) -> list[int]:
        """Return the maximum of each value over all processes; every process must call it.

        Raises:
            RuntimeError: another process has ended.
        """
        if self._group is None:
            return list(values)
        table = torch.tensor(values)
        torch.distributed.all_reduce(table, torch.distributed.ReduceOp.MAX, group=self._group)
        return [int(value) for value in table]
