"""Lesions of many scans: masks, maps and `predictions.csv`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from strokelabel.inference.batch.run import run_scans
from strokelabel.inference.batch.table import ScanRow, ScanTable
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.provenance import known_sidecar, provenance
from strokelabel.inference.segment.outputs import OutputChoice, write_outputs
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import Image
from strokelabel.io.file_search import SearchProblem, absolute_path

TABLE_NAME = "predictions.csv"


@dataclass(frozen=True)
class LesionRow(ScanRow):
    """Result of one scan.

    Attributes:
        mask: name of the lesion mask, in the table's folder.
        volume_ml: volume of the lesion in ml; 0 means that the scan was segmented and no lesion was found.
        lesion_count: number of 26-connected lesions.
    """

    mask: str | None = None
    volume_ml: float | None = None
    lesion_count: int | None = None


def predict_scans(
    predictor: Predictor,
    scans: Sequence[Path],
    folder: Path,
    choice: OutputChoice | None = None,
    overwrite: bool = False,
    progress: OnProgress | None = None,
    problems: Sequence[SearchProblem] = (),
) -> Iterator[LesionRow]:
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
        problems: entries that the search for scans could not read.

    Raises:
        OutputError: the table cannot be written.
    """
    task = _SegmentTask(predictor, folder, choice or OutputChoice(), overwrite)
    return run_scans(task, scans, problems, progress)


class _SegmentTask:
    """Batch task that segments the lesion of each scan."""

    def __init__(self, predictor: Predictor, folder: Path, choice: OutputChoice, overwrite: bool) -> None:
        self.table = ScanTable(folder, TABLE_NAME, LesionRow.columns())
        self._predictor = predictor
        self._options = replace(predictor.options, keep_probabilities=choice.probabilities and choice.tissues)
        self._folder = folder
        self._choice = choice
        self._overwrite = overwrite

    def run(self, image: Image, names: ResultNames, progress: OnProgress) -> LesionRow:
        prediction = self._predictor.predict(image, self._options, progress)
        notes = write_outputs(prediction, image, self._folder, names, self._choice)
        return LesionRow(
            source=image.source,
            mask=names.mask,
            volume_ml=prediction.volume_ml,
            lesion_count=prediction.lesion_count,
            reason="; ".join([*prediction.notes, *notes]),
        )

    def failed(self, source: str, reason: str) -> LesionRow:
        return LesionRow(source, status="failed", reason=reason)

    def earlier(self, scan: Path, names: ResultNames) -> LesionRow | None:
        mask = self._folder / names.mask
        if self._overwrite or not mask.exists():
            return None
        made_by = {**provenance(self._predictor.spec, self._options), **self._predictor.settings}
        known = known_sidecar(mask, scan, made_by)
        complete = all((self._folder / name).exists() for name in self._choice.names(names))
        if known is None or not complete:
            return None
        return LesionRow(
            source=str(absolute_path(scan)),
            mask=names.mask,
            volume_ml=known["volume_ml"],
            lesion_count=known["lesion_count"],
            seconds=known["seconds"],
            status="kept",
            reason="; ".join(known["notes"]),
        )
