"""One runner for scans, and the table it fills: an error in one scan ends no other.

A batch can be shared between processes that write to one folder, as parts (`ScanBatch.part`) or by a cluster
(`strokelabel.inference.distributed`); tables and files are the same then as of one process.
"""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Final, Literal, Protocol, TypeVar

from filelock import FileLock

from strokelabel.errors import OptionError, OutputError, StrokeLabelError
from strokelabel.inference.naming import ResultNames, group_sessions, unique_stems
from strokelabel.inference.network_input import OnProgress, silent
from strokelabel.io import Image, atomic_write_text, read_image
from strokelabel.io.file_search import SearchProblem, absolute_path, printable

Status = Literal["done", "kept", "failed"]

_LAST_COLUMNS = ("status", "reason")

NO_COLUMN: Final = {"column": False}
"""Metadata of a row's field that is not in the table."""


@dataclass(frozen=True)
class ScanRow:
    """Result of one scan. What is unknown is None, and an empty cell in the file; it is never 0.

    Each kind of batch adds its own columns; a field with the metadata `NO_COLUMN` is none. A table holds nothing that
    differs from run to run: no times, and "done" for results whichever run made them.

    Attributes:
        source: absolute path of the scan, as it was given.
        seconds: time taken, reading and writing included; None for results that are kept. Not in the table.
        status: "done"; "kept" when the results of an earlier run were there, "done" in the table; "failed".
        reason: why it failed, or notes about the scan.
    """

    source: str
    seconds: float | None = field(default=None, metadata=NO_COLUMN)
    status: Status = "done"
    reason: str = ""

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Return the names of the columns: the scan, the columns of this kind of row, and the outcome."""
        shown = [one.name for one in fields(cls) if one.metadata != NO_COLUMN]
        own = [name for name in shown if name not in ("source", *_LAST_COLUMNS)]
        return ("source", *own, *_LAST_COLUMNS)

    def cells(self) -> dict[str, str]:
        """Return the row as text by column, volumes to 0.1 mm³."""
        values = asdict(self) | {"status": table_status(self.status)}
        return {name: _text(values[name]) for name in self.columns()}


def table_status(status: Status) -> str:
    """Return the status of a row as tables have it: "done" for results whichever run made them, or "failed"."""
    return "done" if status == "kept" else status


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


class ScanTable:
    """A CSV file in a folder of results, read and rewritten after each scan; rows are sorted by scan.

    Rows of earlier runs are kept; a scan that is done again replaces its row. Several processes may write to one
    table, as those of an array job do: each adds its row while the others wait.

    Args:
        folder: where the table is, or will be.
        name: of the file.
        columns: `source` among them.
        details: tables that say more of the same scans; a scan that fails has no row in them.

    Raises:
        OutputError: there is a file of that name that is not such a table, or the folder cannot be written.
    """

    def __init__(
        self, folder: Path, name: str, columns: Iterable[str], details: Sequence[ScanTable] = ()
    ) -> None:
        self.path = folder / name
        self._columns = list(columns)
        self._details = tuple(details)
        with self._locked():  # a folder that cannot be written is refused before a scan is computed
            self._read()

    def add(self, cells: dict[str, str], replaces: bool = True) -> None:
        """Add or replace the row of a scan.

        Args:
            cells: text by column; missing columns stay empty.
            replaces: false to keep a row that is there.

        Raises:
            OutputError: the table cannot be written.
        """
        with self._locked():
            rows = self._read()
            if not replaces and cells["source"] in rows:
                return
            rows[cells["source"]] = cells
            self._write(rows)
        if cells.get("status") == "failed":
            for table in self._details:
                table.remove(cells["source"])

    def remove(self, source: str) -> None:
        """Remove the row of a scan, if there is one.

        Raises:
            OutputError: the table cannot be written.
        """
        with self._locked():
            rows = self._read()
            if rows.pop(source, None) is not None:
                self._write(rows)

    def _write(self, rows: dict[str, dict[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[source] for source in sorted(rows))
        atomic_write_text(self.path, text.getvalue())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from the table; the lock's file is hidden, since it stays."""
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise OutputError(
                f"{self.path.parent}: expected a folder to write to, but {error.strerror}; choose another folder"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                found = list(reader.fieldnames or ["nothing"])
                rows = {row["source"]: row for row in reader} if found == self._columns else {}
        except FileNotFoundError:
            return {}
        except NotADirectoryError as error:
            raise OutputError(f"{self.path.parent}: expected a folder, found a file; name another") from error
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise OutputError(
                f"{self.path}: expected a table in UTF-8 ({error}); move it away, or choose another folder."
            ) from error
        if found != self._columns:
            raise OutputError(
                f"{self.path}: expected a table with the columns {', '.join(self._columns)}, found "
                f"{', '.join(found)}; move it away, or choose another folder."
            )
        return rows


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


Part = tuple[int, int]
"""Part i of n, from 1."""


def parse_part(text: str | None) -> Part | None:
    """Read a part such as "2/8".

    Raises:
        OptionError: it is no such thing.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise OptionError(f"expected a part such as 2/8, the second of eight, got {text!r}")
    return int(match[1]), int(match[2])


AnyItem = TypeVar("AnyItem")


def take_part(items: Sequence[AnyItem], part: Part | None) -> list[AnyItem]:
    """Take every n-th item, beginning with the i-th, of part (i, n); all without a part."""
    return list(items) if part is None else list(items[part[0] - 1 :: part[1]])


NamedScan = tuple[Path, str]
"""A scan, and the stem of the names of its results."""


@dataclass(frozen=True)
class ScanBatch:
    """Scans with the names of their results, and what the search for scans could not read.

    Names are given before scans are shared between processes, since two scans of one name get different ones.

    Attributes:
        groups: scans that one process does, one after another: one scan, or those of a session.
        problems: entries that the search could not read; each gets a failed row.
    """

    groups: tuple[tuple[NamedScan, ...], ...]
    problems: tuple[SearchProblem, ...] = ()

    @classmethod
    def of(
        cls, scans: Sequence[Path], problems: Sequence[SearchProblem] = (), by_session: bool = False
    ) -> ScanBatch:
        """Name scans, and group them by session (`naming.group_sessions`) or not at all."""
        groups: list[tuple[Path, ...]] = [(scan,) for scan in scans]
        if by_session:
            sessions = group_sessions(scans)
            known = {scan for session in sessions for scan in session}
            groups = [*sessions, *((scan,) for scan in scans if absolute_path(scan) not in known)]
        stems = iter(unique_stems([scan for group in groups for scan in group]))
        return cls(tuple(tuple((scan, next(stems)) for scan in group) for group in groups), tuple(problems))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.problems) + sum(map(len, self.groups))

    @property
    def sessions(self) -> list[tuple[Path, ...]]:
        """The scans of each group."""
        return [tuple(scan for scan, _ in group) for group in self.groups]

    def part(self, part: Part | None) -> ScanBatch:
        """Return part (i, n) of the groups and problems; all of them without a part."""
        return ScanBatch(tuple(take_part(self.groups, part)), tuple(take_part(self.problems, part)))


def run_scans(task: ScanTask[Row], batch: ScanBatch, progress: OnProgress | None = None) -> Iterator[Row]:
    """Do scans one by one, write the table after each, and yield each row as it comes.

    Args:
        task: what is done.
        batch: the scans.
        progress: told how far the current scan is.

    Raises:
        OutputError: the table cannot be written.
    """
    for problem in batch.problems:
        yield run_problem(task, problem)
    for group in batch.groups:
        for scan, stem in group:
            yield run_scan(task, scan, stem, progress or silent)


def run_problem(task: ScanTask[Row], problem: SearchProblem) -> Row:
    """Add the row of what the search for scans could not read."""
    return add_failed(task, problem.path, str(problem))


def add_failed(task: ScanTask[Row], source: str, reason: str) -> Row:
    """Add the row of a scan that could not be done."""
    return _added(task, task.failed(source, reason))


def _added(task: ScanTask[Row], row: Row, replaces: bool = True) -> Row:
    task.table.add(row.cells(), replaces)
    return row


def run_scan(task: ScanTask[Row], scan: Path, stem: str, progress: OnProgress) -> Row:
    """Do one scan, or say why not, and add its row to the table.

    Args:
        task: what is done.
        scan: path for `read_image`.
        stem: of the names of its results.
        progress: told how far it is.

    Raises:
        OutputError: the table cannot be written.
    """
    began = time.perf_counter()
    names, source = ResultNames(stem), str(absolute_path(scan))
    replaces = False  # results that are in the way stay, and so does their row
    try:
        if row := task.earlier(scan, names):
            return _added(task, row)
        replaces = True
        row = task.run(replace(read_image(scan), source=source), names, progress)
    except Exception as error:  # one bad scan must not take the others with it
        row = task.failed(printable(source), failure_reason(scan, error))
    return _added(task, replace(row, seconds=time.perf_counter() - began), replaces)


def failure_reason(scan: Path, error: Exception) -> str:
    """Return why a scan could not be done, in one line."""
    told = " ".join(str(error).split())
    if isinstance(error, StrokeLabelError):
        return printable(told)
    if isinstance(error, MemoryError):
        return f"{printable(scan)}: not enough memory for a scan of this size"
    return printable(f"{scan}: unexpected {type(error).__name__}: {told}")
