"""Batch runner: an error in one scan does not affect the others, and finished results are kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from strokelabel.errors import StrokeLabelError
from strokelabel.inference.batch.table import ScanRow, ScanTable
from strokelabel.inference.naming import ResultNames, unique_stems
from strokelabel.inference.network_input import OnProgress, silent
from strokelabel.io import Image, read_image
from strokelabel.io.file_search import SearchProblem, absolute_path, printable

Row = TypeVar("Row", bound=ScanRow)
ResultRow = TypeVar("ResultRow", bound=ScanRow, covariant=True)


class ScanTask(Protocol[ResultRow]):
    """Work that is done with each scan of a batch.

    Attributes:
        table: receives a row per scan.
    """

    table: ScanTable

    def earlier(self, scan: Path, names: ResultNames) -> ResultRow | None:
        """Return the row of results that are there already; None when the scan is to be done.

        Raises:
            OutputError: they are another scan's, or were made otherwise.
        """
        ...

    def run(self, image: Image, names: ResultNames, progress: OnProgress) -> ResultRow:
        """Do one scan and write its files."""
        ...

    def failed(self, source: str, reason: str) -> ResultRow:
        """Return the row of a scan that could not be done."""
        ...


def run_scans(
    task: ScanTask[Row],
    scans: Sequence[Path],
    problems: Sequence[SearchProblem] = (),
    progress: OnProgress | None = None,
) -> Iterator[Row]:
    """Do scans one by one, write the table after each, and yield each row as it comes.

    Args:
        task: what is done.
        scans: paths for `read_image`.
        problems: entries that the search for scans could not read; each gets a failed row.
        progress: told how far the current scan is.

    Raises:
        OutputError: the table cannot be written.
    """
    for problem in problems:
        yield _added(task, task.failed(problem.path, str(problem)))
    for scan, stem in zip(scans, unique_stems(scans), strict=True):
        yield _added(task, _row(task, scan, ResultNames(stem), progress or silent))


def _added(task: ScanTask[Row], row: Row) -> Row:
    task.table.add(row.cells())
    return row


def _row(task: ScanTask[Row], scan: Path, names: ResultNames, progress: OnProgress) -> Row:
    """Do one scan, or say why not."""
    began = time.perf_counter()
    source = str(absolute_path(scan))
    try:
        if row := task.earlier(scan, names):
            return row
        row = task.run(replace(read_image(scan), source=source), names, progress)
    except Exception as error:  # one bad scan must not take the others with it
        row = task.failed(printable(source), failure_reason(scan, error))
    return replace(row, seconds=time.perf_counter() - began)


def failure_reason(scan: Path, error: Exception) -> str:
    """Return why a scan could not be done, in one line."""
    told = " ".join(str(error).split())
    if isinstance(error, StrokeLabelError):
        return printable(told)
    if isinstance(error, MemoryError):
        return f"{printable(scan)}: not enough memory for a scan of this size"
    return printable(f"{scan}: unexpected {type(error).__name__}: {told}")
