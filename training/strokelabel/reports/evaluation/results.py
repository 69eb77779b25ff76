"""Results of an evaluation: cases are scored one by one, into a table that is saved after every case.

An error in one case does not affect the others.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, get_type_hints

from strokelabel.errors import DataError, OutputError, StrokeLabelError
from strokelabel.io import atomic_write_text, read_label_image
from strokelabel.io.tables import read_table
from strokelabel.metrics.case import CaseMetrics, ComparedMasks, bring_together
from strokelabel.reports.evaluation.cases import EvaluationCase
from strokelabel.reports.evaluation.methods import Method, OnProgress

NAME: Final = "cases"

_METRICS: Final = [field.name for field in fields(CaseMetrics)]
_TEXTS: Final = (
    "case",
    "group",
    "method",
    "status",
    "reason",
    "image",
    "reference",
    "prediction",
    "fingerprint",
)
COLUMNS: Final = [*_TEXTS[:4], *_METRICS, "seconds", *_TEXTS[4:]]

Status = Literal["done", "failed"]


@dataclass(frozen=True)
class CaseResult:
    """Result of one case with one method.

    Attributes:
        case, group, method: which.
        status: "done" or "failed".
        metrics: None where it failed.
        seconds: time that prediction and metrics took.
        reason: why it failed, or notes about the masks.
        image, reference, prediction: paths; empty where there is none.
        fingerprint: of all that decides the scores; empty where it failed.
        kept: whether the scores are those of an earlier run; not in the file.
    """

    case: str
    group: str
    method: str
    status: Status
    metrics: CaseMetrics | None = None
    seconds: float | None = None
    reason: str = ""
    image: str = ""
    reference: str = ""
    prediction: str = ""
    fingerprint: str = ""
    kept: bool = False

    def cells(self) -> dict[str, str]:
        """Return the row of the file; unknown values are empty."""
        row: dict[str, Any] = {name: getattr(self, name) for name in _TEXTS}
        row["seconds"] = None if self.seconds is None else f"{self.seconds:.2f}"
        if self.metrics is not None:
            row |= {name: f"{value:.9g}" for name, value in asdict(self.metrics).items()}
        return {name: "" if row.get(name) is None else str(row[name]) for name in COLUMNS}


class ResultTable:
    """Results of a run and of those before it in one folder.

    Args:
        folder: holds `cases.csv`, and `cases-part-i-of-n.csv` for every part that was run by itself.
        part: (i, n), if this run is one of n parts, which then has a file of its own.

    Raises:
        OutputError: a file of that name is not such a table.
    """

    def __init__(self, folder: Path, part: tuple[int, int] | None = None) -> None:
        self.path = folder / file_name(part)
        self._rows: dict[tuple[str, str], CaseResult] = {}
        self._done: dict[tuple[str, str, str], CaseResult] = {}
        whole = folder / file_name(None)
        others = [whole] if part else sorted(folder.glob(f"{NAME}-part-*-of-*.csv"))
        for path in [*others, self.path]:
            rows = read_results(path) if path.exists() else []
            self._done |= {
                (row.case, row.method, row.fingerprint): row for row in rows if row.status == "done"
            }
            if path == self.path:
                self._rows = {(row.case, row.method): row for row in rows}

    def earlier(self, case: str, method: str, fingerprint: str) -> CaseResult | None:
        """Return the result of an earlier run, if it has the same fingerprint."""
        return self._done.get((case, method, fingerprint))

    def add(self, result: CaseResult) -> None:
        """Add or replace a result and write the file.

        Raises:
            OutputError: it cannot be written.
        """
        self._rows[result.case, result.method] = result
        if not result.kept:  # what is kept is in a file already
            self._write(self._rows.values())

    def finish(self, results: Sequence[CaseResult]) -> None:
        """Write the file with these results alone: what earlier runs had besides goes.

        Raises:
            OutputError: it cannot be written.
        """
        self._write(results)

    def _write(self, results: Iterable[CaseResult]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(result.cells() for result in results)
        atomic_write_text(self.path, text.getvalue())


def file_name(part: tuple[int, int] | None) -> str:
    """Return the name of the file of a whole run, or of a part (i, n) of it."""
    return f"{NAME}.csv" if part is None else f"{NAME}-part-{part[0]}-of-{part[1]}.csv"


def read_results(path: Path) -> list[CaseResult]:
    """Read a file of results.

    Raises:
        OutputError: it is not one.
    """
    try:
        table = read_table(path)
    except DataError as error:
        raise OutputError(f"{error.message}; or move it away.", source=path) from error
    if table.columns != COLUMNS:
        raise OutputError(
            f"{path}: expected a table of scores with the columns {', '.join(COLUMNS)}, found "
            f"{', '.join(table.columns) or 'nothing'}; move it away, or choose another folder."
        )
    try:
        return [_result(row) for row in table.rows]
    except (ValueError, TypeError) as error:
        raise OutputError(f"{path}: expected numbers as scores ({error}); remove the file.") from error


def _result(row: dict[str, str]) -> CaseResult:
    types = get_type_hints(CaseMetrics)
    metrics = None
    if row["status"] == "done":
        metrics = CaseMetrics(**{name: types[name](float(row[name])) for name in _METRICS})
    return CaseResult(
        case=row["case"],
        group=row["group"],
        method=row["method"],
        status="done" if metrics else "failed",
        metrics=metrics,
        seconds=float(row["seconds"]) if row["seconds"] else None,
        reason=row["reason"],
        image=row["image"],
        reference=row["reference"],
        prediction=row["prediction"],
        fingerprint=row["fingerprint"],
    )


_METRICS_VERSION: Final = 2
"""Raised when the same masks would score differently, so that earlier results are not kept."""


def evaluate_cases(
    cases: Sequence[EvaluationCase], methods: Sequence[Method], table: ResultTable, progress: OnProgress
) -> Iterator[CaseResult]:
    """Score every case with every method, case by case, and yield each result as it comes.

    Results in the table whose files, model and options have not changed since are kept.

    Args:
        cases: what to score.
        methods: whose masks.
        table: receives the results.
        progress: told how far the current prediction is.

    Raises:
        OutputError: the table cannot be written.
    """
    for case, method in scored_pairs(cases, methods):
        result = _evaluate(case, method, table, progress)
        table.add(result)
        yield result


def scored_pairs(
    cases: Sequence[EvaluationCase], methods: Sequence[Method]
) -> list[tuple[EvaluationCase, Method]]:
    """Return which case is scored with which method, case by case."""
    return [(case, method) for case in cases for method in methods if method.takes(case)]


def compare(case: EvaluationCase, method: Method, prediction: Path) -> ComparedMasks:
    """Return a case's two masks on the common grid.

    Raises:
        ImageError, LabelMapError: one of them is not a mask.
    """
    return bring_together(read_label_image(case.reference), method.read(prediction))


def _evaluate(case: EvaluationCase, method: Method, table: ResultTable, progress: OnProgress) -> CaseResult:
    """Score one case with one method, or say why not."""
    began = time.perf_counter()
    image, reference = (str(path.resolve()) if path else "" for path in (case.image, case.reference))
    result = CaseResult(case.name, case.group, method.name, "failed", image=image, reference=reference)
    try:
        fingerprint = _fingerprint(case, method)
        earlier = table.earlier(case.name, method.name, fingerprint)
        if earlier is not None and Path(earlier.prediction).exists():
            return replace(earlier, group=case.group, kept=True)
        prediction = method.mask_path(case, progress)
        masks = compare(case, method, prediction)
        result = replace(
            result,
            status="done",
            metrics=masks.metrics(),
            reason="; ".join([*masks.notes, *method.notes(case, prediction)]),
            prediction=str(prediction.resolve()),
            fingerprint=fingerprint,
        )
    except StrokeLabelError as error:
        result = replace(result, reason=_one_line(error))
    except MemoryError:
        result = replace(result, reason=f"{case.name}: not enough memory for a scan of this size")
    except Exception as error:  # one bad case must not take the others with it
        result = replace(result, reason=f"{case.name}: unexpected {type(error).__name__}: {_one_line(error)}")
    return replace(result, seconds=time.perf_counter() - began)


def _fingerprint(case: EvaluationCase, method: Method) -> str:
    """Return a check sum of the inputs of a case's scores; files by size and time, as reading them all
    would take long.
    """
    files, settings = method.inputs(case)
    stamps = [_stamp(path) for path in (case.reference, *files)]
    content = json.dumps([_METRICS_VERSION, stamps, settings], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _stamp(path: Path) -> tuple[str, int, int]:
    """Return the name, size and time of a file; zeros if it is missing, which is reported when it is read."""
    try:
        status = path.stat()
    except OSError:
        return path.name, 0, 0
    return path.name, status.st_size, status.st_mtime_ns


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
