"""Parcellation of many scans: the files that are written for each, and the tables of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from strokelabel import __version__
from strokelabel.inference.batch import NO_COLUMN, ScanBatch, ScanRow, ScanTable, run_scans
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.parcellate import (
    TOTAL_INTRACRANIAL,
    Parcellation,
    Parcellator,
    ResampledScan,
    structures_of_model,
    total_name,
)
from strokelabel.inference.provenance import known_sidecar, provenance, write_description
from strokelabel.inference.quality import QUALITY_KEY, QualityPredictor, QualityTable
from strokelabel.io import Image, atomic_write_json, atomic_write_text, write_nifti
from strokelabel.io.bids import sidecar_path
from strokelabel.io.file_search import SearchProblem, absolute_path
from strokelabel.io.images import channel_writer
from strokelabel.registry import ModelSpec
from strokelabel.structures import structure_table
from strokelabel.types import Volume

TABLE_NAME = "parcellations.csv"
VOLUMES_NAME = "volumes.csv"
"""Table of the volumes of all structures, ml, a row per scan."""


@dataclass(frozen=True)
class ParcellationChoice:
    """Results to write beside the segmentation.

    Attributes:
        probabilities: those of all structures, 4-D.
        resampled: the scan and its segmentation at the model's voxel size.
        quality: predicts the Dice of the segmentation; None for no quality control.
    """

    probabilities: bool = False
    resampled: bool = False
    quality: QualityPredictor | None = None

    def names(self, names: ResultNames) -> list[str]:
        """Return the files of one scan; a scan is done when all of them exist."""
        chosen = [names.parcellation_probabilities] if self.probabilities else []
        chosen += [names.resampled, names.resampled_parcellation] if self.resampled else []
        return [*chosen, names.volumes, names.parcellation]


@dataclass(frozen=True)
class ParcellationRow(ScanRow):
    """Result of one scan.

    Attributes:
        segmentation: name of the segmentation, in the table's folder.
        intracranial_ml: volume of all structures in ml, fluid included; None for structures that are not SynthSeg's.
        predicted_dice: of groups of structures, by name; empty where these were not requested.
    """

    segmentation: str | None = None
    intracranial_ml: float | None = None
    predicted_dice: Mapping[str, float] = field(default_factory=dict, metadata=NO_COLUMN)


def parcellate_scans(
    parcellator: Parcellator,
    scans: Sequence[Path],
    folder: Path,
    overwrite: bool = False,
    progress: OnProgress | None = None,
    problems: Sequence[SearchProblem] = (),
    choice: ParcellationChoice | None = None,
) -> Iterator[ParcellationRow]:
    """Parcellate scans one by one, write their files and the tables, and yield each row.

    Args and errors as `strokelabel.inference.segment.batch.predict_scans`.
    """
    task = ParcellateTask(parcellator, folder, choice or ParcellationChoice(), overwrite)
    return run_scans(task, ScanBatch.of(scans, problems), progress)


class ParcellateTask:
    """Batch task that segments the structures of each scan.

    Args and errors: as `parcellate_scans`.
    """

    def __init__(
        self, parcellator: Parcellator, folder: Path, choice: ParcellationChoice, overwrite: bool = False
    ) -> None:
        names = [total_name(parcellator.spec), *(one.name for one in parcellator.structures if one.id)]
        self._volumes = ScanTable(folder, VOLUMES_NAME, ["source", *map(_column, names)])
        structures, judge = parcellator.structures, choice.quality
        self._quality = None if judge is None else QualityTable(judge, structures, folder)
        details = [self._volumes] if self._quality is None else [self._volumes, self._quality.table]
        self.table = ScanTable(folder, TABLE_NAME, ParcellationRow.columns(), details)
        self._choice = choice
        self._parcellator = parcellator
        self._folder = folder
        self._overwrite = overwrite

    def run(self, image: Image, names: ResultNames, progress: OnProgress) -> ParcellationRow:
        """Parcellate one scan and write its files."""
        with self._probability_writer(image, names) as each:
            found = self._parcellator.parcellate(image, progress, each, self._choice.resampled)
        if found.resampled is not None:
            _write_resampled(found, found.resampled, self._folder, names)
        if self._quality is not None:
            quality = self._quality.predict(image, found.labels)
            found = replace(found, quality=quality, notes=found.notes + quality.notes)
        write_parcellation(found, image, self._folder, names)
        self._add_volumes(image.source, found.volumes_ml)
        return ParcellationRow(
            source=image.source,
            segmentation=names.parcellation,
            intracranial_ml=found.intracranial_ml,
            predicted_dice={} if found.quality is None else found.quality.dice,
            reason="; ".join(found.notes),
        )

    def _probability_writer(
        self, image: Image, names: ResultNames
    ) -> AbstractContextManager[Callable[[Volume], None] | None]:
        """Return what writes the probabilities of the structures as they come; None where they are not wanted."""
        if not self._choice.probabilities:
            return nullcontext()
        path, structures = self._folder / names.parcellation_probabilities, self._parcellator.structures
        described = {"Sources": [image.source], "LabelMap": [one.name for one in structures]}
        atomic_write_json(sidecar_path(path), described)
        return channel_writer(path, image, len(structures))

    def failed(self, source: str, reason: str) -> ParcellationRow:
        """Return the row of a scan that could not be parcellated."""
        return ParcellationRow(source, status="failed", reason=reason)

    def earlier(self, scan: Path, names: ResultNames) -> ParcellationRow | None:
        """Return the row of results that are there, made by the same model with the same options."""
        segmentation = self._folder / names.parcellation
        if self._overwrite or not segmentation.exists():
            return None
        model = self._parcellator
        told = parcellation_provenance(model.spec, model.options, model.robust_settings, model.sharpens)
        known = known_sidecar(segmentation, scan, told)
        complete = all((self._folder / name).exists() for name in self._choice.names(names))
        if known is None or not complete:
            return None
        if self._quality is not None and not self._quality.known(str(absolute_path(scan)), known):
            return None
        self._add_volumes(str(absolute_path(scan)), known["volumes_ml"])
        return ParcellationRow(
            source=str(absolute_path(scan)),
            segmentation=names.parcellation,
            intracranial_ml=known["volumes_ml"].get(TOTAL_INTRACRANIAL),
            predicted_dice={} if self._quality is None else known[QUALITY_KEY]["predicted_dice"],
            status="kept",
            reason="; ".join(known["notes"]),
        )

    def _add_volumes(self, source: str, volumes_ml: Mapping[str, float]) -> None:
        self._volumes.add(
            {"source": source, **{_column(name): f"{ml:.4f}" for name, ml in volumes_ml.items()}}
        )


def _column(structure: str) -> str:
    return f"{structure.replace(' ', '_')}_ml"


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
    atomic_write_text(folder / f"{stem}.tsv", structure_table(structures_of_model(found.spec)))
    atomic_write_text(folder / names.volumes, volume_table(found.volumes_ml))
    if names.is_bids:
        write_description(folder, found.spec)
    atomic_write_json(folder / f"{stem}.json", _sidecar(found, image.source))
    about = f"StrokeLabel {__version__} {found.spec.name} {found.spec.version}"
    write_nifti(folder / names.parcellation, found.labels, image, found.labels.dtype.type, about)


def _write_resampled(found: Parcellation, resampled: ResampledScan, folder: Path, names: ResultNames) -> None:
    about = f"StrokeLabel {__version__} {found.spec.name} {found.spec.version}"
    described = {"Sources": [resampled.image.source], "Resolution": f"{found.spec.spacing_mm:g} mm isotropic"}
    for name, values, dtype in (
        (names.resampled, resampled.image.data, np.float32),
        (names.resampled_parcellation, resampled.labels, resampled.labels.dtype.type),
    ):
        atomic_write_json(sidecar_path(folder / name), described)
        write_nifti(folder / name, values, resampled.image, dtype, about)


def volume_table(volumes_ml: dict[str, float]) -> str:
    """Return one row of volumes in ml, a tab-separated column per structure."""
    return "\t".join(volumes_ml) + "\n" + "\t".join(f"{ml:.4f}" for ml in volumes_ml.values()) + "\n"


def parcellation_provenance(
    spec: ModelSpec,
    options: PredictionOptions,
    robust: Mapping[str, Any] | None = None,
    sharpened: bool = False,
) -> dict[str, Any]:
    """Return everything besides the scan that determines a parcellation: `provenance` without lesions.

    Args:
        spec, options: of the model.
        robust: settings of the robust mode; None for a plain parcellation.
        sharpened: the scan's own intensities decided about borders.
    """
    told = provenance(spec, options)
    told["options"] = {name: value for name, value in told["options"].items() if name not in _LESION_OPTIONS}
    return {**told, "robust": robust, "sharpened": sharpened or None}


def _sidecar(found: Parcellation, source: str) -> dict[str, Any]:
    """Return the sidecar of a segmentation: BIDS's keys, and ours in lower case."""
    return {
        "Manual": False,
        "Description": "Structures of the head, predicted; for research only",
        "Sources": [source],
        "SpatialReference": "orig",
        **parcellation_provenance(found.spec, found.options, found.robust, found.sharpened),
        "volumes_ml": {name: round(ml, 4) for name, ml in found.volumes_ml.items()},
        "notes": list(found.notes),
        **({QUALITY_KEY: found.quality.as_json()} if found.quality is not None else {}),
    }
