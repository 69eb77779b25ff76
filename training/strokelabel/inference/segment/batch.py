"""Segmentation of many scans, and the files that are written for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

import nibabel as nib
import numpy as np

from strokelabel import __version__
from strokelabel.errors import ImageError, OptionError, OutputError, UnreadableImageError
from strokelabel.inference.batch import NO_COLUMN, ScanBatch, ScanRow, ScanTable, run_scans
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.network_input import OnProgress
from strokelabel.inference.parcellate import Parcellator
from strokelabel.inference.provenance import known_sidecar, provenance, write_description
from strokelabel.inference.segment.prediction import Prediction
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.inference.segment.structure_tables import MaskTable, StructureTables, described_lesion
from strokelabel.inference.segment.uncertainty import Passes, Uncertainty, check_passes, estimate_uncertainty
from strokelabel.io import Image, atomic_path, atomic_write_json, atomic_write_text, write_nifti
from strokelabel.io.archives import is_in_archive
from strokelabel.io.bids import sidecar_path
from strokelabel.io.file_kinds import is_dicom_file
from strokelabel.io.file_search import SearchProblem, absolute_path, unpacked_scan
from strokelabel.labels import CLASS_COLORS

TABLE_NAME = "predictions.csv"
STRUCTURES_NAME = "lesion_structures.csv"


@dataclass(frozen=True)
class LesionRow(ScanRow):
    """Result of one scan.

    Attributes:
        mask: name of the lesion mask, in the table's folder.
        volume_ml: volume of the lesion in ml; 0 means that the scan was segmented and no lesion was found.
        lesion_count: number of 26-connected lesions.
        details: lines about the lesion: which prediction an adaptation kept, and the structures that it touches; empty
            where none were requested.
    """

    mask: str | None = None
    volume_ml: float | None = None
    lesion_count: int | None = None
    details: tuple[str, ...] = field(default=(), metadata=NO_COLUMN)


def predict_scans(
    predictor: Predictor,
    scans: Sequence[Path],
    folder: Path,
    choice: OutputChoice | None = None,
    overwrite: bool = False,
    progress: OnProgress | None = None,
    problems: Sequence[SearchProblem] = (),
    structures: Parcellator | None = None,
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
        structures: finds the structures that each lesion touches, for tables of their own; None for no such tables.

    Raises:
        OutputError: the table cannot be written.
        WeightsError: `structures` has a class for lesions.
        OptionError: maps of uncertainty, and a model that cannot make the passes for them.
    """
    task = SegmentTask(predictor, folder, choice or OutputChoice(), overwrite, structures)
    return run_scans(task, ScanBatch.of(scans, problems), progress)


def mask_tables(
    choice: OutputChoice, structures: Parcellator | None, folder: Path, name: str
) -> tuple[MaskTable, ...]:
    """Return the tables about lesions: of structures, by their name, then those of the choice."""
    found = () if structures is None else (StructureTables(structures, folder, name),)
    return (*found, *choice.tables)


class SegmentTask:
    """Batch task that segments the lesion of each scan.

    Args and errors: as `predict_scans`.
    """

    def __init__(
        self,
        predictor: Predictor,
        folder: Path,
        choice: OutputChoice,
        overwrite: bool = False,
        structures: Parcellator | None = None,
    ) -> None:
        self._tables = mask_tables(choice, structures, folder, STRUCTURES_NAME)
        details = [one.table for one in self._tables]
        self.table = ScanTable(folder, TABLE_NAME, LesionRow.columns(), details)
        self._predictor = predictor
        self._options = replace(predictor.options, keep_probabilities=choice.probabilities and choice.tissues)
        self._folder = folder
        self._choice = choice
        self._overwrite = overwrite
        if choice.passes is not None:
            check_passes(predictor, choice.passes)

    def run(self, image: Image, names: ResultNames, progress: OnProgress) -> LesionRow:
        """Predict one scan and write its files."""
        passes, found = self._choice.passes, None
        if passes is None:
            prediction = self._predictor.predict(image, self._options, progress)
        else:
            found = estimate_uncertainty(
                self._predictor, image, self._options, passes.method, progress, passes.count
            )
            prediction = found.prediction
        more: dict[str, Any] = {}
        for table in self._tables:
            more |= table.write(prediction, image, names, progress)
        notes = write_outputs(prediction, image, self._folder, names, self._choice, found, more)
        return LesionRow(
            source=image.source,
            mask=names.mask,
            volume_ml=prediction.volume_ml,
            lesion_count=prediction.lesion_count,
            details=described_lesion(self._tables, {**prediction.record, **more}),
            reason="; ".join([*prediction.notes, *notes]),
        )

    def failed(self, source: str, reason: str) -> LesionRow:
        """Return the row of a scan that could not be predicted."""
        return LesionRow(source, status="failed", reason=reason)

    def earlier(self, scan: Path, names: ResultNames) -> LesionRow | None:
        """Return the row of results that are there, made by the same model with the same options."""
        mask = self._folder / names.mask
        if self._overwrite or not mask.exists():
            return None
        made_by = provenance(self._predictor.spec, self._options)
        made_by |= self._choice.provenance() | self._predictor.settings
        known = known_sidecar(mask, scan, made_by)
        complete = all((self._folder / name).exists() for name in self._choice.names(names))
        source = str(absolute_path(scan))
        if known is None or not complete or not self._has_tables(source, names, known):
            return None
        return LesionRow(
            source=source,
            mask=names.mask,
            volume_ml=known["volume_ml"],
            lesion_count=known["lesion_count"],
            details=described_lesion(self._tables, known),
            status="kept",
            reason="; ".join(known["notes"]),
        )

    def _has_tables(self, source: str, names: ResultNames, sidecar: dict[str, Any]) -> bool:
        return all(table.known(source, names, sidecar) for table in self._tables)


UNCERTAINTIES = {
    "entropy": ("predictive_entropy", "nats, 0 to ln(classes)"),
    "mutual-information": ("mutual_information", "nats, 0 where all passes agree"),
    "variance": ("lesion_variance", "variance of the lesion's probability between passes, 0 to 0.25"),
}
"""Maps of uncertainty: field of `several_passes.UncertaintyMaps`, and unit."""

_BIDS_INDEX = {"background": 0, "gray matter": 1, "white matter": 2, "cerebrospinal fluid": 3, "lesion": 7}
"""BIDS's common numbers of image-derived labels; partial volume has none."""


class ResultPages(Protocol):
    """Pages for people about the results of a folder, one for each scan."""

    def names(self, names: ResultNames) -> list[str]:
        """Return the files of one scan."""
        ...

    def write(
        self, prediction: Prediction, image: Image, names: ResultNames, sidecar: Mapping[str, Any]
    ) -> None:
        """Write the page of one scan, whose mask is there already; `sidecar` is that of the mask."""
        ...


@dataclass(frozen=True)
class OutputChoice:
    """Maps to write beside the mask.

    Attributes:
        probabilities: the lesion's probability, 3-D; with `tissues`, those of all classes too, 4-D.
        tissues: the most likely class of each voxel, with a table of the classes.
        dicom_seg: the lesion, and with `probabilities` its probability, as DICOM SEG of the scan's DICOM series.
        uncertainty: maps of uncertainty, of `UNCERTAINTIES`.
        passes: the passes that these maps are of; None without any.
        tables: about lesions, besides that of structures.
        pages: written for each scan; None for none.

    Raises:
        OptionError: a map that is not known.
    """

    probabilities: bool = False
    tissues: bool = False
    dicom_seg: bool = False
    uncertainty: tuple[str, ...] = ()
    passes: Passes | None = None
    pages: ResultPages | None = None
    tables: tuple[MaskTable, ...] = ()

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.uncertainty if kind not in UNCERTAINTIES]
        if unknown or bool(self.uncertainty) != (self.passes is not None):
            raise OptionError(
                f"Expected maps of uncertainty ({', '.join(UNCERTAINTIES)}) together with passes, got "
                f"{', '.join(self.uncertainty) or 'no map'} and {self.passes or 'no passes'}."
            )

    def names(self, names: ResultNames) -> list[str]:
        """Return the files of one scan; it is done when all of them exist."""
        chosen = [names.dicom_seg] if self.dicom_seg else []
        chosen += [names.probability_seg] if self.dicom_seg and self.probabilities else []
        chosen += [names.tissues] if self.tissues else []
        chosen += [names.probability] if self.probabilities else []
        chosen += [names.tissue_probabilities] if self.probabilities and self.tissues else []
        chosen += [names.uncertainty(kind) for kind in self.uncertainty]
        chosen += [] if self.pages is None else self.pages.names(names)
        return [*chosen, names.mask]

    def provenance(self) -> dict[str, Any]:
        """Return what of the choice decides the mask: the passes whose mean it is, for a sidecar."""
        return {"passes": None if self.passes is None else asdict(self.passes)}


def write_outputs(
    prediction: Prediction,
    image: Image,
    folder: Path,
    names: ResultNames,
    choice: OutputChoice,
    found: Uncertainty | None = None,
    more: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """Write the files of one scan, each atomically: NIfTI first, so that a DICOM SEG that fails costs no mask.

    Args:
        prediction: on the grid of `image`.
        image: the scan, whose geometry the files take.
        folder: where to.
        names: of the files.
        choice: which of them.
        found: the maps of uncertainty of the prediction, if any are to be written.
        more: what the sidecar of the mask holds besides, in place of what it holds else.

    Returns:
        Notes on what a DICOM SEG could not take over from the scan.

    Raises:
        OutputError: a file cannot be written; of a DICOM SEG, the message says that the mask was.
        UnreadableImageError: a DICOM SEG is requested, and the scan is no DICOM series.
    """
    scan = Path(image.source)
    if choice.dicom_seg and not (scan.is_dir() or is_dicom_file(scan) or is_in_archive(scan)):
        raise UnreadableImageError(
            "expected a folder of DICOM files, to which a DICOM SEG can refer, found a file; "
            "leave out --dicom-seg.",
            source=scan,
        )
    about = f"StrokeLabel {__version__} {prediction.spec.name} {prediction.spec.version}"
    _write_maps(prediction, image, folder, names, choice, about)
    if found is not None:
        _write_uncertainty(found, image, folder, names, choice, about)
    if names.is_bids:
        write_description(folder, prediction.spec)
    described = (
        sidecar(prediction, image.source) | choice.provenance() | _passes_made(found) | dict(more or {})
    )
    atomic_write_json(sidecar_path(folder / names.mask), described)
    write_nifti(folder / names.mask, prediction.lesion_mask, image, np.uint8, about)
    if choice.pages is not None:
        choice.pages.write(prediction, image, names, described)
    if not choice.dicom_seg:
        return ()
    try:
        with unpacked_scan(scan) as series:
            return _write_dicom_seg(prediction, series, folder, names, choice)
    except (OutputError, ImageError) as error:
        raise OutputError(f"no DICOM SEG, only {names.mask}: {error}") from error


def _write_maps(
    prediction: Prediction, image: Image, folder: Path, names: ResultNames, choice: OutputChoice, about: str
) -> None:
    """Write classes and probabilities."""
    if choice.tissues:
        write_nifti(folder / names.tissues, prediction.labels, image, np.uint8, about)
        atomic_write_text(folder / "dseg.tsv", class_table(prediction.spec.class_names))
    if choice.probabilities:
        write_nifti(folder / names.probability, prediction.lesion_probability, image, np.float32, about)
    if choice.probabilities and choice.tissues and prediction.probabilities is not None:
        _write_channels(folder / names.tissue_probabilities, prediction.probabilities, folder / names.tissues)
        label_map = {"LabelMap": list(prediction.spec.class_names), "Sources": [image.source]}
        atomic_write_json(sidecar_path(folder / names.tissue_probabilities), label_map)


def _write_uncertainty(
    found: Uncertainty, image: Image, folder: Path, names: ResultNames, choice: OutputChoice, about: str
) -> None:
    for kind in choice.uncertainty:
        name, units = UNCERTAINTIES[kind]
        path = folder / names.uncertainty(kind)
        described = {"Sources": [image.source], "Units": units, "uncertainty": kind, **_passes_made(found)}
        atomic_write_json(
            sidecar_path(path), described | provenance(found.prediction.spec, found.prediction.options)
        )
        write_nifti(path, getattr(found.maps, name), image, np.float32, about)


def _passes_made(found: Uncertainty | None) -> dict[str, Any]:
    """Return what the passes differed in and how many they were, for a sidecar."""
    return {} if found is None else {"passes_differ_in": found.method, "passes_made": found.passes}


def sidecar(prediction: Prediction, source: str) -> dict[str, Any]:
    """Return the sidecar of a mask: BIDS's keys, and ours in lower case.

    Args:
        prediction: whose mask it is.
        source: path of the scan.
    """
    threshold = prediction.options.threshold
    return {
        "Type": "Lesion",
        "Manual": False,
        "Description": "Stroke lesion, predicted; for research only",
        "Sources": [source],
        "SpatialReference": "orig",
        **provenance(prediction.spec, prediction.options),
        "threshold": "likeliest class" if threshold is None else threshold,
        "volume_ml": prediction.volume_ml,
        "lesion_count": prediction.lesion_count,
        "largest_lesion_ml": float(max(prediction.lesion_volumes_ml, default=0.0)),
        "outside_brain_ml": prediction.outside_brain_ml,
        "notes": list(prediction.notes),
        **prediction.record,
    }


def class_table(class_names: tuple[str, ...]) -> str:
    """Return BIDS's table of a segmentation's values: tab-separated index, name, mapping and colour."""
    lines = ["index\tname\tmapping\tcolor"]
    for index, name in enumerate(class_names):
        color = "#{:02x}{:02x}{:02x}".format(*CLASS_COLORS.get(name, (0, 0, 0)))
        lines.append(f"{index}\t{name}\t{_BIDS_INDEX.get(name, 'n/a')}\t{color}")
    return "\n".join(lines) + "\n"


def _write_dicom_seg(
    prediction: Prediction, scan: Path, folder: Path, names: ResultNames, choice: OutputChoice
) -> tuple[str, ...]:
    from strokelabel.io.dicom.segmentation import (
        DicomSource,
        SegOrigin,
        write_dicom_seg,
        write_probability_seg,
    )

    source = DicomSource(scan)
    origin = SegOrigin(prediction.spec.name, prediction.spec.version)
    write_dicom_seg(folder / names.dicom_seg, prediction.lesion_mask, source, origin)
    if choice.probabilities:
        write_probability_seg(
            folder / names.probability_seg, np.clip(prediction.lesion_probability, 0, 1), source, origin
        )
    return source.notes


def _write_channels(path: Path, channels: np.ndarray, same_grid: Path) -> None:
    """Write (classes, i, j, k) as one 4-D file with the geometry of a 3-D file that was written before."""
    header = cast(nib.Nifti1Image, nib.load(same_grid)).header.copy()
    header.set_data_dtype(np.float32)
    values = np.moveaxis(channels, 0, -1)
    header.set_data_shape(values.shape)
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    with atomic_path(path) as temporary:
        nib.save(kind(values, None, header), temporary)
