"""Label an unlabelled cohort with a model: masks with a record of what each is worth.

Chalcroft et al. 2025, section 2.2: the masks become lesions of synthetic images, which fit their labels by
construction, so that a mask need not be right, only look like a lesion. The quality gate is ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from strokelabel import __version__
from strokelabel.errors import OptionError
from strokelabel.fit.pseudo_labels.lesions import align_with_icbm, fraction_inside, has_tissues
from strokelabel.fit.pseudo_labels.record import (
    KEY,
    PseudoLabel,
    PseudoMeasures,
    QualityGate,
    read_pseudo_label,
)
from strokelabel.inference.batch import ScanBatch, ScanRow, ScanTable, run_scans, table_status
from strokelabel.inference.naming import ResultNames
from strokelabel.inference.provenance import is_newer, is_source, provenance
from strokelabel.inference.segment.batch import sidecar
from strokelabel.inference.segment.prediction import Prediction
from strokelabel.inference.segment.predictor import OnProgress, Predictor
from strokelabel.io import Image, atomic_write_json, write_nifti
from strokelabel.io.bids import dataset_description, datatype_of, session_folders, sidecar_path
from strokelabel.io.file_search import SearchProblem, absolute_path
from strokelabel.synthesis.prepared.registration import Registration

TABLE_NAME = "pseudo-labels.csv"


@dataclass(frozen=True)
class PseudoRow(ScanRow):
    """One scan of a cohort.

    Attributes:
        label: the mask and its record; None if it failed.
    """

    label: PseudoLabel | None = None

    def cells(self) -> dict[str, str]:
        """Return the row as text."""
        cells = {"source": self.source, "status": table_status(self.status), "reason": self.reason}
        if self.label is None:
            return cells
        measures = self.label.measures
        numbers = {
            "volume_ml": measures.volume_ml,
            "mean_confidence": measures.mean_confidence,
            "similarity": measures.similarity,
            "inside": measures.inside,
        }
        texts = {name: "" if value is None else f"{value:.4f}" for name, value in numbers.items()}
        accepted = "yes" if self.label.accepted else "no"
        return cells | texts | {
            "mask": self.label.mask, "accepted": accepted, "review": self.label.status,
            "reason": "; ".join(self.label.reasons),
        }  # fmt: skip


COLUMNS = (
    "source", "mask", "status", "accepted", "review", "volume_ml", "mean_confidence", "similarity", "inside", "reason",
)  # fmt: skip
"""Columns of the table."""


class PseudoLabeler:
    """Pseudo-labels of a cohort: predicted and checked by the quality gate.

    Args:
        predictor: draws the lesions.
        folder: receives masks, records and the table.
        gate: judges them.
        tissues: predicts the tissues that scans are aligned with ICBM space by; None if `predictor` knows them.
        overwrite: label again, except what an annotator accepted or corrected.

    Raises:
        OptionError: neither model predicts tissues.
        OutputError: the folder cannot be written.
    """

    def __init__(
        self,
        predictor: Predictor,
        folder: Path,
        gate: QualityGate,
        tissues: Predictor | None = None,
        overwrite: bool = False,
    ) -> None:
        self.predictor = predictor
        self.folder = folder
        self.gate = gate
        self.overwrite = overwrite
        self.table = ScanTable(folder, TABLE_NAME, COLUMNS)
        self._tissues = predictor if has_tissues(predictor.spec.class_names) else tissues
        if self._tissues is None or not has_tissues(self._tissues.spec.class_names):
            raise OptionError(
                f"expected a model with tissue classes, {predictor.spec.name!r} knows only the lesion; scans are "
                "aligned with ICBM space by their tissues, so name a second model for them"
            )
        spec = predictor.spec
        made_by = f"pseudo-labels of the model {spec.name} {spec.version}"
        content = dataset_description("StrokeLabel pseudo-labels", made_by)
        atomic_write_json(folder / "dataset_description.json", content)

    def label_scans(
        self,
        scans: Sequence[Path],
        progress: OnProgress | None = None,
        problems: Sequence[SearchProblem] = (),
    ) -> Iterator[PseudoRow]:
        """Label scans one by one, each standing or failing by itself; the table is written after every one.

        Masks of an earlier run with the same scan, models and options are kept, and checked again if the gate changed.
        Masks that an annotator accepted or corrected are kept whatever changed.

        Args:
            scans: paths for `read_image`.
            progress: told how far the current scan is.
            problems: entries that the search for scans could not read.

        Raises:
            OutputError: the table cannot be written.
        """
        yield from run_scans(self, ScanBatch.of(scans, problems), progress)

    def run(self, image: Image, names: ResultNames, progress: OnProgress) -> PseudoRow:
        """Draw, judge and write the mask of one scan."""
        label = self._label(image, self._mask_path(Path(image.source), names), progress)
        return PseudoRow(image.source, label=label)

    def failed(self, source: str, reason: str) -> PseudoRow:
        """Return the row of a scan that could not be labelled."""
        return PseudoRow(source, status="failed", reason=reason)

    def earlier(self, scan: Path, names: ResultNames) -> PseudoRow | None:
        """Return the row of a mask that is there and would come out the same; checked again by another gate."""
        label = self._earlier(scan, self._mask_path(scan, names))
        return None if label is None else PseudoRow(str(absolute_path(scan)), status="kept", label=label)

    def _label(self, image: Image, mask: Path, progress: OnProgress) -> PseudoLabel:
        """Draw, judge and write one mask; the record first, since a mask says that it is whole."""
        prediction = self.predictor.predict(image, progress=progress)
        measures, to_icbm = self._judge(prediction, image)
        label = PseudoLabel(
            mask.relative_to(self.folder).as_posix(), image.source, measures, to_icbm, self.gate
        )
        content = sidecar(prediction, image.source) | {
            "Description": "Stroke lesion, predicted for training only"
        }
        mask.unlink(missing_ok=True)
        self._write_record(mask, content, label)
        about = f"StrokeLabel {__version__} {prediction.spec.name} {prediction.spec.version}"
        write_nifti(mask, prediction.lesion_mask, image, np.uint8, about)
        return label

    def _judge(
        self, prediction: Prediction, image: Image
    ) -> tuple[PseudoMeasures, tuple[tuple[float, ...], ...] | None]:
        """Return the measures for the gate, and the map to ICBM space; a scan without lesion needs none."""
        lesion = prediction.lesion_mask > 0
        if not lesion.any():
            return PseudoMeasures(0.0, 0.0, None, None), None
        confidence = float(prediction.lesion_probability[lesion].mean())
        registration = self.align(image, prediction)
        if registration is None:
            return PseudoMeasures(prediction.volume_ml, confidence, None, None), None
        inside = fraction_inside(lesion, registration.to_icbm @ image.affine)
        measures = PseudoMeasures(prediction.volume_ml, confidence, registration.similarity, inside)
        return measures, tuple(tuple(float(cell) for cell in row) for row in registration.to_icbm)

    def align(self, image: Image, prediction: Prediction) -> Registration | None:
        """Return how a scan lies in ICBM space, by its tissues; None where next to no brain was found.

        Args:
            image: the scan.
            prediction: of the model that draws the lesions; another one is made where it knows no tissues.
        """
        if self._tissues is not self.predictor and self._tissues is not None:
            prediction = self._tissues.predict(image)
        return align_with_icbm(prediction.labels, image.grid)

    def _earlier(self, scan: Path, mask: Path) -> PseudoLabel | None:
        """Return the record of an existing mask that would come out the same; judged again by another gate."""
        path = sidecar_path(mask)
        if not mask.exists():
            return None
        label = read_pseudo_label(path, self.folder)
        if label is None or not is_source([label.source], scan):
            return None
        if label.is_kept:
            return label
        if self.overwrite or is_newer(scan, mask):
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        if any(content.get(key) != value for key, value in self._made_by().items()):
            return None
        if label.gate != self.gate:
            label = replace(label, gate=self.gate)
            self._write_record(mask, content, label)
        return label

    def _write_record(self, mask: Path, content: dict[str, Any], label: PseudoLabel) -> None:
        atomic_write_json(sidecar_path(mask), content | self._made_by() | {KEY: label.to_json()})

    def _made_by(self) -> dict[str, Any]:
        """Return everything besides the scan that determines a mask, for JSON."""
        made_by = provenance(self.predictor.spec, self.predictor.options)
        assert self._tissues is not None
        return made_by | {"tissue_weights_sha256": self._tissues.spec.sha256}

    def _mask_path(self, scan: Path, names: ResultNames) -> Path:
        """Return the path of a scan's mask: in BIDS's folders for BIDS's names."""
        if not names.is_bids:
            return self.folder / names.mask
        return self.folder.joinpath(*session_folders(names.stem), datatype_of(scan), names.mask)
