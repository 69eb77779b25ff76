"""Parcellation of many scans, and the files that are written for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strokelabel import __version__
from strokelabel.inference.batch import ScanRow, ScanTable, run_scans
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate.predictor import TOTAL_INTRACRANIAL, Parcellation, Parcellator
from strokelabel.inference.provenance import known_sidecar, provenance, write_description
from strokelabel.io import Image, atomic_write_json, atomic_write_text, write_nifti
from strokelabel.io.file_search import SearchProblem, absolute_path
from strokelabel.registry import ModelSpec
from strokelabel.structures import Structure, structures_of

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


_LESION_OPTIONS = ("threshold", "min_size_ml", "fill_holes", "keep_outside_brain")


def write_parcellation(found: Parcellation, image: Image, folder: Path, names: ResultNames) -> None:
    """Write the files of one scan, each atomically; the segmentation, whose presence says "done", is last.

    Args:
        found: on the grid of `image`.
        image: the scan, whose geometry the segmentation takes.
        folder: where to.
        names: of the files.

    Raises:
        OutputError: a file cannot be written.
    """
    stem = names.parcellation.removesuffix(".nii.gz")
    atomic_write_text(folder / f"{stem}.tsv", structure_table(structures_of(found.spec.class_ids)))
    atomic_write_text(folder / names.volumes, volume_table(found.volumes_ml))
    if names.is_bids:
        write_description(folder, found.spec)
    atomic_write_json(folder / f"{stem}.json", _sidecar(found, image.source))
    about = f"StrokeLabel {__version__} {found.spec.name} {found.spec.version}"
    write_nifti(folder / names.parcellation, found.labels, image, np.uint8, about)


def structure_table(structures: Sequence[Structure]) -> str:
    """Return BIDS's table of a segmentation's values: tab-separated index, name and colour."""
    rows = [f"{structure.id}\t{structure.name}\t{structure.color}" for structure in structures]
    return "\n".join(["index\tname\tcolor", *rows]) + "\n"


def volume_table(volumes_ml: dict[str, float]) -> str:
    """Return one row of volumes in ml, a tab-separated column per structure."""
    return "\t".join(volumes_ml) + "\n" + "\t".join(f"{ml:.4f}" for ml in volumes_ml.values()) + "\n"


def parcellation_provenance(spec: ModelSpec, options: PredictionOptions) -> dict[str, Any]:
    """Return everything besides the scan that determines a parcellation: `outputs.provenance` without lesions."""
    made_by = provenance(spec, options)
    made_by["options"] = {
        name: value for name, value in made_by["options"].items() if name not in _LESION_OPTIONS
    }
    return made_by


def _sidecar(found: Parcellation, source: str) -> dict[str, Any]:
    """Return the sidecar of a segmentation: BIDS's keys, and ours in lower case."""
    return {
        "Manual": False,
        "Description": "Structures of the head, predicted; for research only",
        "Sources": [source],
        "SpatialReference": "orig",
        **parcellation_provenance(found.spec, found.options),
        "volumes_ml": {name: round(ml, 4) for name, ml in found.volumes_ml.items()},
        "seconds": round(found.seconds, 3),
        "notes": list(found.notes),
    }
