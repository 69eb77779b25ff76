"""The record of a run: one row per step in `metrics.csv`, and the same in TensorBoard.

Rows are exact (shortest decimal that reads back as the same number). On resuming, rows after the checkpoint
are cut off, so that the curve of an interrupted run is the curve of an undisturbed one.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from strokelabel.errors import CheckpointError
from strokelabel.io.atomic import atomic_write_text

COLUMNS = (
    "step",
    "loss",
    "learning_rate",
    "gradient_norm",
    "validation_loss",
    "validation_dice_mean",
    "validation_dice_median",
)
"""Columns of `metrics.csv`; validation columns are empty in steps without one."""


class TrainingRecord:
    """Appends rows to a run's `metrics.csv` and TensorBoard events.

    Args:
        folder: the training folder.
        step: steps done; anything recorded after them is dropped.

    Raises:
        CheckpointError: an existing `metrics.csv` is not one of ours.
    """

    def __init__(self, folder: Path, step: int) -> None:
        path = folder / "metrics.csv"
        rows = [row for row in read_metrics(path) if row["step"] <= step]
        lines = [",".join(COLUMNS), *(_line(row) for row in rows)]
        atomic_write_text(path, "\n".join(lines) + "\n")
        self._file = path.open("a", newline="")
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, row: Mapping[str, float]) -> None:
        """Record a step: `step` and any other of `COLUMNS`."""
        self._file.write(_line(row) + "\n")
        self._file.flush()
        for name, value in row.items():
            if name != "step":
                self._events.add_scalar(name.replace("validation_", "validation/"), value, int(row["step"]))

    def sync(self) -> None:
        """Force all rows to the disk, so that no checkpoint is ahead of its record."""
        os.fsync(self._file.fileno())
        self._events.flush()

    def close(self) -> None:
        """Finish both files."""
        self._file.close()
        self._events.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a `metrics.csv`, empty cells left out; no rows if there is no file.

    A last line that a kill cut short is dropped.

    Raises:
        CheckpointError: the columns are not `COLUMNS`, or a cell is no number.
    """
    if not path.exists():
        return []
    text = path.read_text()
    complete = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(complete.splitlines())
    if complete and tuple(reader.fieldnames or ()) != COLUMNS:
        raise CheckpointError(f"{path}: expected columns {', '.join(COLUMNS)}; move it away to start anew")
    try:
        return [
            {name: (int if name == "step" else float)(cell) for name, cell in row.items() if cell}
            for row in reader
        ]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: expected numbers, {error}; move it away to start anew") from error


def _line(row: Mapping[str, float]) -> str:
    return ",".join(repr(row[name]) if name in row else "" for name in COLUMNS)
