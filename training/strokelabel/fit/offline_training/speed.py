"""Speed of a training and its waiting times, interval by interval, as a table."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from strokelabel.fit.data.generation.stream import ReplayStream
from strokelabel.io.atomic import atomic_write_text


@dataclass(frozen=True)
class Speed:
    """One interval.

    Attributes:
        seconds: since training began.
        step: optimiser steps done.
        ms_per_step: wall milliseconds of a step.
        images_per_second: synthetic images made.
        fresh_share: of the synthetic images that were trained on, those that were new.
        waiting_share: of the time, spent waiting for synthetic images.
    """

    seconds: float
    step: int
    ms_per_step: float
    images_per_second: float
    fresh_share: float
    waiting_share: float


class SpeedTable:
    """Measures intervals; the table is rewritten after each.

    Args:
        path: CSV file.
        step: steps done before.
        images: counts the synthetic images; None where the stream has no such counter.

    Attributes:
        step: at the end of the last interval.
        rows: all intervals.
    """

    def __init__(self, path: Path, step: int, images: ReplayStream | None) -> None:
        self._path = path
        self._images = images
        self._began = time.monotonic()
        self.step = step
        self._last = self._read(step)
        self.rows: list[Speed] = []
        self._write()

    def add(self, step: int) -> Speed:
        """End an interval, at least one step after the last one."""
        seconds, steps, made, delivered, waited = (
            now - then for now, then in zip(self._read(step), self._last, strict=True)
        )
        self._last, self.step = self._read(step), step
        row = Speed(
            seconds=round(time.monotonic() - self._began, 1),
            step=step,
            ms_per_step=round(1000 * seconds / steps, 1),
            images_per_second=round(made / seconds, 2),
            fresh_share=round(made / max(delivered, 1), 3),
            waiting_share=round(min(1.0, waited / seconds), 3),
        )
        self.rows.append(row)
        self._write()
        return row

    def _read(self, step: int) -> tuple[float, float, float, float, float]:
        images = self._images
        counted = (images.made, images.delivered, images.waited_seconds) if images else (0, 0, 0.0)
        return (time.monotonic(), step, *counted)

    def _write(self) -> None:
        table = io.StringIO()
        writer = csv.DictWriter(table, [field.name for field in fields(Speed)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        atomic_write_text(self._path, table.getvalue())
