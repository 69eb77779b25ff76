"""Scoring cases one by one: an error in one does not affect the others, and finished results are kept."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from strokelabel.errors import StrokeLabelError
from strokelabel.io import read_label_image
from strokelabel.metrics.case import ComparedMasks, bring_together
from strokelabel.reports.evaluation.cases import EvaluationCase
from strokelabel.reports.evaluation.methods import Method, OnProgress
from strokelabel.reports.evaluation.results import CaseResult, ResultTable

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
