"""Structures of a scan and their volumes, on the scan's own grid (Billot et al. 2023, SynthSeg, section 3.3).

The predictor, and the parcellation of many scans with the files that are written for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from strokelabel import __version__
from strokelabel.errors import LabelMapError, WeightsError
from strokelabel.inference.batch import NO_COLUMN, ScanRow, ScanTable, run_scans
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.network_input import (
    OnProgress,
    likeliest_on_source_grid,
    on_source_grid,
    shown_probabilities,
    silent,
)
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.postprocessing import keep_largest_pieces
from strokelabel.inference.provenance import known_sidecar, provenance, write_description
from strokelabel.inference.quality import QUALITY_KEY, Quality, QualityPredictor, QualityTable
from strokelabel.inference.scan_model import ScanModel, image_notes
from strokelabel.io import Image, atomic_write_json, atomic_write_text, write_nifti
from strokelabel.io.bids import sidecar_path
from strokelabel.io.file_search import SearchProblem, absolute_path
from strokelabel.io.images import channel_writer
from strokelabel.metrics.lesion_structures import little_brain_note
from strokelabel.registry import PARCELLATION, ModelSpec
from strokelabel.structures import Structure, mirrored_classes, structure_table, structures_of
from strokelabel.types import LabelVolume, Volume

TOTAL_INTRACRANIAL = "total intracranial"
"""Name of the volume of all structures together, fluid included."""

TOTAL = "total"
"""The same for structures that are not SynthSeg's."""


@dataclass(frozen=True, eq=False)
class Parcellation:
    """Structures of one scan.

    Attributes:
        labels: (i, j, k) FreeSurfer's number of the most likely structure, or that of the model's own table, which may
            need more than uint8; 0 is background.
        volumes_ml: ml by the structure's name, `TOTAL_INTRACRANIAL` (or `TOTAL`) first: sums of probabilities, not of
            voxels.
        spec: the model.
        options: how it was asked.
        seconds: time that it took.
        notes: what a user should know about the scan or the result.
        resampled: scan and labels at the model's voxel size; None where they were not requested.
        quality: predicted Dice of groups of structures; None where they were not requested.
    """

    labels: LabelVolume
    volumes_ml: dict[str, float]
    spec: ModelSpec
    options: PredictionOptions
    seconds: float
    notes: tuple[str, ...] = ()
    resampled: ResampledScan | None = None
    quality: Quality | None = None

    @property
    def intracranial_ml(self) -> float | None:
        """Volume of all structures, fluid included, ml; None for structures that are not SynthSeg's."""
        return self.volumes_ml.get(TOTAL_INTRACRANIAL)


@dataclass(frozen=True, eq=False)
class ResampledScan:
    """A scan on the grid of isotropic voxels that the network was shown, axes to the right, the front and the top.

    Attributes:
        image: the scan, linearly interpolated, its intensities as they are.
        labels: (x, y, z) numbers of the structures, as the network found them.
    """

    image: Image
    labels: LabelVolume


def has_own_structures(spec: ModelSpec) -> bool:
    """Return whether a model's structures came with the data that it was trained on, as other organs' do."""
    return isinstance(spec.recipe.get("structure_table"), list | tuple)


def total_name(spec: ModelSpec) -> str:
    """Return the name of the volume of all structures of a model together."""
    return TOTAL if has_own_structures(spec) else TOTAL_INTRACRANIAL


def structures_of_model(spec: ModelSpec) -> tuple[Structure, ...]:
    """Return the structures of a model's channels.

    Raises:
        LabelMapError: there are some that are not known.
    """
    return structures_of(spec.class_ids, spec.recipe.get("structure_table"))


class Parcellator(ScanModel):
    """Parcellation of scans of any contrast, orientation and spacing.

    Attributes:
        structures: of the network's channels.

    Args:
        spec, network, device: see `ScanModel`; the network gives logits (1, structures, x, y, z).
        options: flips, CT window, view and memory; what concerns lesions is not used.

    Raises:
        WeightsError: the model is of another task, or of structures that are not known.
    """

    task = PARCELLATION
    purpose = "parcellates"

    def __init__(
        self,
        spec: ModelSpec,
        network: nn.Module,
        device: torch.device,
        options: PredictionOptions | None = None,
    ) -> None:
        super().__init__(spec, network, device, options)
        try:
            self.structures = structures_of_model(spec)
        except LabelMapError as error:
            raise WeightsError(
                f"{spec.path}: {error}; use the release of StrokeLabel that wrote it"
            ) from error

    def parcellate(
        self,
        image: Image,
        progress: OnProgress | None = None,
        each: Callable[[Volume], None] | None = None,
        resample: bool = False,
    ) -> Parcellation:
        """Find the structures of one scan.

        Args:
            image: from `read_image`, or built from an array.
            progress: told how far it is.
            each: given the probability (i, j, k) of each structure in turn, background first.
            resample: return the scan and its labels at the model's voxel size too.

        Raises:
            ImageError: the scan cannot be used; see `strokelabel.errors`.
        """
        began = time.perf_counter()
        report, options = progress or silent, self.options
        report("preparing", 0.0)
        canonical, volume = self.canonical_volume(image, options.ct_window)
        engine = self.engine(options, mirrored_classes(self.structures))
        box, probabilities = shown_probabilities(volume, self.spec, engine, self.multiple, options, report)
        keep_largest_pieces(probabilities, self.structures)
        report("writing to the scan's grid", 0.9)
        if each is not None:
            for channel in on_source_grid(probabilities, box, canonical):
                each(channel)
        found = self._described(*likeliest_on_source_grid(probabilities, box, canonical), image)
        if resample:
            ids = np.array([structure.id for structure in self.structures], found.labels.dtype)
            isotropic = Image(canonical.forward(image.data), canonical.target.affine, source=image.source)
            labels = box.paste(ids[probabilities.argmax(axis=0)])
            found = replace(found, resampled=ResampledScan(isotropic, labels))
        report("done", 1.0)
        return replace(found, seconds=time.perf_counter() - began)

    def _described(self, classes: LabelVolume, sums: list[float], image: Image) -> Parcellation:
        """Return the result for the class of each voxel (i, j, k), and the sum of each class's probabilities."""
        ids = np.array(self.spec.class_ids, np.min_scalar_type(max(self.spec.class_ids)))
        total, voxel_ml = total_name(self.spec), image.grid.voxel_volume_ml
        volumes = {
            one.name: found * voxel_ml for one, found in zip(self.structures, sums, strict=True) if one.id
        }
        volumes = {total: sum(volumes.values()), **volumes}
        notes = image.notes + image_notes(image, self.options)
        if not has_own_structures(self.spec):
            notes += little_brain_note(volumes[total])
        return Parcellation(ids[classes], volumes, self.spec, self.options, seconds=0.0, notes=notes)

    def _advice(self, spec: ModelSpec) -> str:
        return "train one with `strokelabel train synthseg`"


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
    task = _ParcellateTask(parcellator, folder, overwrite, choice or ParcellationChoice())
    return run_scans(task, scans, problems, progress)


class _ParcellateTask:
    """Batch task that segments the structures of each scan."""

    def __init__(
        self, parcellator: Parcellator, folder: Path, overwrite: bool, choice: ParcellationChoice
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
        return ParcellationRow(source, status="failed", reason=reason)

    def earlier(self, scan: Path, names: ResultNames) -> ParcellationRow | None:
        segmentation = self._folder / names.parcellation
        if self._overwrite or not segmentation.exists():
            return None
        made_by = parcellation_provenance(self._parcellator.spec, self._parcellator.options)
        known = known_sidecar(segmentation, scan, made_by)
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
            seconds=known["seconds"],
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


def parcellation_provenance(spec: ModelSpec, options: PredictionOptions) -> dict[str, Any]:
    """Return everything besides the scan that determines a parcellation: `provenance` without lesions."""
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
        **({QUALITY_KEY: found.quality.as_json()} if found.quality is not None else {}),
    }
