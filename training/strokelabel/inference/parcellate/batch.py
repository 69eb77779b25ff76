"""Structures of many scans: segmentations, volumes and `parcellations.csv`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from strokelabel.inference.batch.run import run_scans
from strokelabel.inference.batch.table import ScanRow, ScanTable
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.parcellate.outputs import parcellation_provenance, write_parcellation
from strokelabel.inference.parcellate.predictor import TOTAL_INTRACRANIAL, Parcellator
from strokelabel.inference.provenance import known_sidecar
from strokelabel.io import Image
from strokelabel.io.file_search import SearchProblem, absolute_path

TABLE_NAME = "parcellations.csv"


@dataclass(frozen=True)
class ParcellationRow(ScanRow):
    """Result of one scan.

    Attributes:
        segmentation: name of the segmentation, in the table's folder.
        intracranial_ml: volume of all structures in ml, fluid included.
    """

    segmentation: str | None = None
    intracranial_ml: float | None = None


def parcellate_scans(
    parcellator: Parcellator,
    scans: Sequence[Path],
    folder: Path,
    overwrite: bool = False,
    progress: OnProgress | None = None,
    problems: Sequence[SearchProblem] = (),
) -> Iterator[ParcellationRow]:
    """Parcellate scans one by one, write their files and the table, and yield each row.

    Args and errors as `strokelabel.inference.segment.batch.predict_scans`.
    """
    return run_scans(_ParcellateTask(parcellator, folder, overwrite), scans, problems, progress)


class _ParcellateTask:
    """Batch task that segments the structures of each scan."""

    def __init__(self, parcellator: Parcellator, folder: Path, overwrite: bool) -> None:
        self.table = ScanTable(folder, TABLE_NAME, ParcellationRow.columns())
        self._parcellator = parcellator
        self._folder = folder
        self._overwrite = overwrite

    def run(self, image: Image, names: ResultNames, progress: OnProgress) -> ParcellationRow:
        found = self._parcellator.parcellate(image, progress)
        write_parcellation(found, image, self._folder, names)
        return ParcellationRow(
            source=image.source,
            segmentation=names.parcellation,
            intracranial_ml=found.volumes_ml[TOTAL_INTRACRANIAL],
            reason="; ".join(found.notes),
        )

    def failed(self, source: str, reason: str) -> ParcellationRow:
        return ParcellationRow(source, status="failed", reason=reason)

    def earlier(self, scan: Path, names: ResultNames) -> ParcellationRow | None:
        segmentation = self._folder / names.parcellation
        if self._overwrite or not segmentation.exists():
            return None
        made_by = parcellation_provenance(self._parcellator.spec, self._parcellator.options)
        known = known_sidecar(segmentation, scan, made_by)
        if known is None or not (self._folder / names.volumes).exists():
            return None
        return ParcellationRow(
            source=str(absolute_path(scan)),
            segmentation=names.parcellation,
            intracranial_ml=known["volumes_ml"][TOTAL_INTRACRANIAL],
            seconds=known["seconds"],
            status="kept",
            reason="; ".join(known["notes"]),
        )
