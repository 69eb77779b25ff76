"""Many scans, one model: each scan stands or falls by itself, and nothing that is done is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from strokelabel.errors import OutputError, StrokeLabelError
from strokelabel.inference.naming import ResultNames, unique_stems
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.outputs import OutputChoice, provenance, sidecar_of, write_outputs
from strokelabel.inference.predictor import OnProgress, Predictor
from strokelabel.inference.table import PredictionTable, Row
from strokelabel.io import read_image


def predict_scans(
    predictor: Predictor,
    scans: Sequence[Path],
    folder: Path,
    choice: OutputChoice | None = None,
    overwrite: bool = False,
    progress: OnProgress | None = None,
) -> Iterator[Row]:
    """Predict scans one by one, write their files and the table, and yield each row as it comes.

    Results of an earlier run with the same scan, model and options are kept. Other results of the same name
    are never overwritten unless asked to: that scan fails, and says so.

    Args:
        predictor: loaded once for all.
        scans: paths for `read_image`.
        folder: where results go.
        choice: which maps beside the mask.
        overwrite: predict again, whatever is there.
        progress: told how far the current scan is.

    Raises:
        OutputError: the table cannot be written.
    """
    choice = choice or OutputChoice()
    keep_all = choice.probabilities and choice.tissues
    batch = _Batch(
        predictor, replace(predictor.options, keep_probabilities=keep_all), folder, choice, overwrite
    )
    table = PredictionTable(folder)
    for scan, stem in zip(scans, unique_stems(scans), strict=True):
        row = batch.row(scan, ResultNames(stem), progress)
        table.add(row)
        yield row


class _Batch:
    """What the scans of a batch share."""

    def __init__(
        self,
        predictor: Predictor,
        options: PredictionOptions,
        folder: Path,
        choice: OutputChoice,
        overwrite: bool,
    ) -> None:
        self._predictor = predictor
        self._options = options
        self._folder = folder
        self._choice = choice
        self._overwrite = overwrite

    def row(self, scan: Path, names: ResultNames, progress: OnProgress | None) -> Row:
        """Predict one scan, or say why not."""
        began = time.perf_counter()
        source = str(scan.resolve())
        try:
            row = self._earlier(scan, names) or self._predict(scan, names, progress)
        except Exception as error:  # one bad scan must not take the others with it
            row = Row(source, status="failed", reason=failure_reason(scan, error))
        return row if row.status == "kept" else replace(row, seconds=time.perf_counter() - began)

    def _predict(self, scan: Path, names: ResultNames, progress: OnProgress | None) -> Row:
        image = replace(read_image(scan), source=str(scan.resolve()))
        prediction = self._predictor.predict(image, self._options, progress)
        notes = write_outputs(prediction, image, self._folder, names, self._choice)
        return Row(
            source=image.source,
            mask=names.mask,
            volume_ml=prediction.volume_ml,
            lesion_count=prediction.lesion_count,
            reason="; ".join([*prediction.notes, *notes]),
        )

    def _earlier(self, scan: Path, names: ResultNames) -> Row | None:
        """The row of results that are there already; None when the scan is to be predicted.

        Raises:
            OutputError: they are another scan's, or were made otherwise.
        """
        mask = self._folder / names.mask
        if self._overwrite or not mask.exists():
            return None
        known = known_sidecar(mask, scan, provenance(self._predictor.spec, self._options))
        complete = all((self._folder / name).exists() for name in self._choice.names(names))
        if known is None or not complete:
            return None
        notes = "; ".join(known["notes"])
        volume, count, seconds = known["volume_ml"], known["lesion_count"], known["seconds"]
        return Row(str(scan.resolve()), names.mask, volume, count, seconds, "kept", notes)


def known_sidecar(result: Path, scan: Path, made_by: dict[str, Any]) -> dict[str, Any] | None:
    """What is known about a result that is there already; None when the scan has changed since.

    Args:
        result: a file that exists.
        scan: what it should be the result of.
        made_by: what decides such a result; see `outputs.provenance`.

    Raises:
        OutputError: it is another scan's, or was made otherwise.
    """
    known = sidecar_of(result)
    if known is None or known.get("Sources") != [str(scan.resolve())]:
        raise OutputError(
            f"{result}: holds the result of another scan than {scan}; choose another folder, or overwrite."
        )
    if any(known.get(key) != value for key, value in made_by.items()):
        raise OutputError(
            f"{result}: was made by another model, version or options; choose another folder, or overwrite."
        )
    if scan.exists() and scan.stat().st_mtime > result.stat().st_mtime:
        return None
    return known


def failure_reason(scan: Path, error: Exception) -> str:
    """Why a scan could not be done, in one line."""
    told = " ".join(str(error).split())
    if isinstance(error, StrokeLabelError):
        return told
    if isinstance(error, MemoryError):
        return f"{scan}: not enough memory for a scan of this size"
    return f"{scan}: unexpected {type(error).__name__}: {told}"
