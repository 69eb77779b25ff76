"""Structures of a scan and their volumes, on the scan's own grid (Billot et al. 2023, SynthSeg, section 3.3).

The predictor, and the parcellation of many scans with the files that are written for each.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import torch
from torch import nn

from strokelabel import __version__
from strokelabel.errors import LabelMapError, WeightsError
from strokelabel.inference.batch import ScanRow, ScanTable, run_scans
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.network_input import OnProgress, on_source_grid, shown_probabilities, silent
from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.provenance import known_sidecar, provenance, write_description
from strokelabel.inference.scan_model import ScanModel, image_notes
from strokelabel.io import Image, atomic_write_json, atomic_write_text, write_nifti
from strokelabel.io.file_search import SearchProblem, absolute_path
from strokelabel.metrics.lesions import CONNECTIVITY
from strokelabel.registry import PARCELLATION, ModelSpec
from strokelabel.structures import CSF_ID, LESION, Structure, mirrored_classes, structures_of
from strokelabel.types import ChannelVolume, LabelVolume, Volume

TOTAL_INTRACRANIAL = "total intracranial"
"""Name of the volume of all structures together, fluid included."""

TOTAL = "total"
"""The same for structures that are not SynthSeg's."""

SCATTERED_IDS = frozenset({CSF_ID, LESION.id})
"""Structures that come in several pieces; of all others the largest piece is kept."""

_LITTLE_BRAIN_ML = 100.0


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
    """

    labels: LabelVolume
    volumes_ml: dict[str, float]
    spec: ModelSpec
    options: PredictionOptions
    seconds: float
    notes: tuple[str, ...] = ()


def has_own_structures(spec: ModelSpec) -> bool:
    """Return whether a model's structures came with the data that it was trained on, as other organs' do."""
    return isinstance(spec.recipe.get("structure_table"), list | tuple)


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

    def parcellate(self, image: Image, progress: OnProgress | None = None) -> Parcellation:
        """Find the structures of one scan.

        Args:
            image: from `read_image`, or built from an array.
            progress: told how far it is.

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
        found = self._decide(on_source_grid(probabilities, box, canonical), image)
        report("done", 1.0)
        return replace(found, seconds=time.perf_counter() - began)

    def _decide(self, channels: Iterator[Volume], image: Image) -> Parcellation:
        """Return the labels and volumes from channels that come one at a time, so that they need not all be
        in memory.
        """
        shape, voxel_ml = image.grid.shape, image.grid.voxel_volume_ml
        best = np.full(shape, -1.0, np.float32)
        labels = np.zeros(shape, np.min_scalar_type(max(self.spec.class_ids)))
        total = TOTAL if has_own_structures(self.spec) else TOTAL_INTRACRANIAL
        volumes = {total: 0.0}
        for structure, channel in zip(self.structures, channels, strict=True):
            better = channel > best
            best[better] = channel[better]
            labels[better] = structure.id
            if structure.id:
                volumes[structure.name] = float(channel.sum(dtype=np.float64)) * voxel_ml
        volumes[total] = sum(volumes.values())
        notes = image.notes + self._notes(image, volumes[total])
        return Parcellation(labels, volumes, self.spec, self.options, seconds=0.0, notes=notes)

    def _notes(self, image: Image, intracranial_ml: float) -> tuple[str, ...]:
        notes = [*image_notes(image, self.options)]
        if intracranial_ml < _LITTLE_BRAIN_ML and not has_own_structures(self.spec):
            notes.append(
                f"only {intracranial_ml:.1f} ml of brain were recognised: check the orientation and the picture"
            )
        return tuple(notes)

    def _advice(self, spec: ModelSpec) -> str:
        return "train one with `strokelabel train synthseg`"


def keep_largest_pieces(probabilities: ChannelVolume, structures: Sequence[Structure]) -> None:
    """Take every structure but its largest piece out of the running, in place; what is left sums to one again.

    Billot et al. 2023 (section 3.3) keep the largest piece of each structure too; where a smaller one was, the next
    most likely structure takes its place.

    Args:
        probabilities: (structures, x, y, z), summing to one.
        structures: of the channels.
    """
    labels = probabilities.argmax(axis=0).astype(np.uint8)
    pieces = cc3d.connected_components(labels, connectivity=CONNECTIVITY)
    sizes = np.bincount(pieces.ravel())
    owner = np.zeros(len(sizes), dtype=np.intp)
    owner[pieces.ravel()] = labels.ravel()
    kept = np.isin(owner, [i for i, one in enumerate(structures) if one.id in SCATTERED_IDS]) | (owner == 0)
    for index in np.unique(owner):
        kept[np.where(owner == index, sizes, -1).argmax()] = True
    dropped = ~kept[pieces]
    probabilities[labels[dropped], *np.nonzero(dropped)] = 0
    rest = probabilities[:, dropped]
    rest[0] += np.finfo(np.float32).tiny  # background, should nothing else be left
    probabilities[:, dropped] = rest / rest.sum(axis=0)


TABLE_NAME = "parcellations.csv"


@dataclass(frozen=True)
class ParcellationRow(ScanRow):
    """Result of one scan.

    Attributes:
        segmentation: name of the segmentation, in the table's folder.
        intracranial_ml: volume of all structures in ml, fluid included; None for structures that are not SynthSeg's.
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
            intracranial_ml=found.volumes_ml.get(TOTAL_INTRACRANIAL),
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
            intracranial_ml=known["volumes_ml"].get(TOTAL_INTRACRANIAL),
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
    atomic_write_text(folder / f"{stem}.tsv", structure_table(structures_of_model(found.spec)))
    atomic_write_text(folder / names.volumes, volume_table(found.volumes_ml))
    if names.is_bids:
        write_description(folder, found.spec)
    atomic_write_json(folder / f"{stem}.json", _sidecar(found, image.source))
    about = f"StrokeLabel {__version__} {found.spec.name} {found.spec.version}"
    write_nifti(folder / names.parcellation, found.labels, image, found.labels.dtype.type, about)


def structure_table(structures: Sequence[Structure]) -> str:
    """Return BIDS's table of a segmentation's values: tab-separated index, name and colour."""
    rows = [f"{structure.id}\t{structure.name}\t{structure.color}" for structure in structures]
    return "\n".join(["index\tname\tcolor", *rows]) + "\n"


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
    }
