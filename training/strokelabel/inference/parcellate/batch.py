"""Many scans, one parcellation model: each scan stands or falls by itself, and nothing that is done is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from strokelabel.inference.batch.run import failure_reason, known_sidecar
from strokelabel.inference.batch.table import PredictionTable, Status
from strokelabel.inference.naming import ResultNames, unique_stems
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.parcellate.outputs import parcellation_provenance, write_parcellation
from strokelabel.inference.parcellate.predictor import TOTAL_INTRACRANIAL, Parcellator
from strokelabel.io import read_image

PARCELLATION_TABLE = "parcellations.csv"


@dataclass(frozen=True)
class ParcellationRow:
    """What became of one scan. What is unknown is None, and an empty cell in the file; it is never 0.

    Attributes:
        source: absolute path of the scan.
        segmentation: name of the segmentation, in the table's folder.
        intracranial_ml: volume of all structures in ml, fluid included.
        seconds: time taken, reading and writing included.
        status: "done"; "kept" when the results of an earlier run were there; "failed".
        reason: why it failed, or notes about the scan.
    """

    source: str
    segmentation: str | None = None
    intracranial_ml: float | None = None
    seconds: float | None = None
    status: Status = "done"
    reason: str = ""

    def cells(self) -> dict[str, str]:
        """The row as text, volumes to 0.1 mm³ and times to 10 ms."""
        values = asdict(self)
        values["intracranial_ml"] = None if self.intracranial_ml is None else f"{self.intracranial_ml:.4f}"
        values["seconds"] = None if self.seconds is None else f"{self.seconds:.2f}"
        return {key: "" if value is None else str(value) for key, value in values.items()}


def parcellate_scans(
    parcellator: Parcellator,
    scans: Sequence[Path],
    folder: Path,
    overwrite: bool = False,
    progress: OnProgress | None = None,
) -> Iterator[ParcellationRow]:
    """Parcellate scans one by one, write their files and the table, and yield each row as it comes.

    Results of an earlier run with the same scan, model and options are kept. Other results of the same name
    are never overwritten unless asked to: that scan fails, and says so.

    Args:
        parcellator: loaded once for all.
        scans: paths for `read_image`.
        folder: where results go.
        overwrite: do it again, whatever is there.
        progress: told how far the current scan is.

    Raises:
        OutputError: the table cannot be written.
    """
    table = PredictionTable(folder, PARCELLATION_TABLE, [field.name for field in fields(ParcellationRow)])
    for scan, stem in zip(scans, unique_stems(scans), strict=True):
        began, names = time.perf_counter(), ResultNames(stem)
        try:
            row = None if overwrite else _earlier(parcellator, scan, folder, names)
            row = row or _parcellate(parcellator, scan, folder, names, progress)
        except Exception as error:  # one bad scan must not take the others with it
            row = ParcellationRow(str(scan.resolve()), status="failed", reason=failure_reason(scan, error))
        if row.status != "kept":
            row = replace(row, seconds=time.perf_counter() - began)
        table.add(row)
        yield row


def _parcellate(
    parcellator: Parcellator, scan: Path, folder: Path, names: ResultNames, progress: OnProgress | None
) -> ParcellationRow:
    image = replace(read_image(scan), source=str(scan.resolve()))
    found = parcellator.parcellate(image, progress)
    write_parcellation(found, image, folder, names)
    total = found.volumes_ml[TOTAL_INTRACRANIAL]
    return ParcellationRow(image.source, names.parcellation, total, reason="; ".join(found.notes))


def _earlier(
    parcellator: Parcellator, scan: Path, folder: Path, names: ResultNames
) -> ParcellationRow | None:
    """The row of results that are there already; None when the scan is to be done.

    Raises:
        OutputError: they are another scan's, or were made otherwise.
    """
    if not (folder / names.parcellation).exists():
        return None
    made_by = parcellation_provenance(parcellator.spec, parcellator.options)
    known = known_sidecar(folder / names.parcellation, scan, made_by)
    if known is None or not (folder / names.volumes).exists():
        return None
    return ParcellationRow(
        str(scan.resolve()),
        names.parcellation,
        known["volumes_ml"][TOTAL_INTRACRANIAL],
        known["seconds"],
        "kept",
        "; ".join(known["notes"]),
    )
