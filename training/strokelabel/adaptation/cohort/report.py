"""Report of an adaptation to a cohort, as it is written beside the model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from strokelabel.adaptation.cohort.pseudo_labels import LabelledScan
from strokelabel.inference.batch import ScanRow


@dataclass(frozen=True)
class CohortRow(ScanRow):
    """A scan and what of it is trained on.

    Attributes:
        voxels, confident, certain, agreeing, lesion, lesion_kept: see `pseudo_labels.KeptVoxels`.
        kept: fraction of the voxels that are trained on.
        volume_ml: of the lesion in the model's answer, before any condition.
    """

    voxels: int | None = None
    confident: int | None = None
    certain: int | None = None
    agreeing: int | None = None
    lesion: int | None = None
    lesion_kept: int | None = None
    kept: float | None = None
    volume_ml: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the row as a JSON object; what is unknown is left out."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def row_of(source: str, labelled: LabelledScan, seconds: float, was_known: bool) -> CohortRow:
    """Return the row of a scan with pseudo-labels."""
    kept = labelled.kept
    reason = "" if kept.kept else "no voxel is reliable: it is not trained on"
    return CohortRow(
        source,
        round(seconds, 2),
        "kept" if was_known else "done",
        reason,
        **asdict(kept),
        kept=round(kept.kept / kept.voxels, 4),
        volume_ml=round(labelled.plain.lesion_ml, 3),
    )


@dataclass(frozen=True)
class CohortReport:
    """Outcome of an adaptation to a cohort.

    Attributes:
        strokelabel_version: of the program.
        key: of model, options and scans together.
        method, options: see `CohortOptions`.
        threshold: probability that confident voxels exceed.
        model: name, version and check sum of the model that it began with.
        adapted: of the adapted one.
        accepted: whether the model was written.
        forced: whether that was in spite of the objections.
        objections: what speaks against the model.
        seconds: of training.
        skipped_steps: steps without finite gradients, in the last run.
        scans: of each scan, how many voxels were kept by each condition; why others failed.
        changes: by scan, entropy and volumes before and after, on the grid that the network is shown.
    """

    strokelabel_version: str
    key: str
    method: str
    options: dict[str, Any]
    threshold: float
    model: dict[str, str]
    adapted: dict[str, str]
    accepted: bool
    forced: bool
    objections: list[str]
    seconds: float
    skipped_steps: int
    scans: list[dict[str, Any]] = field(default_factory=list)
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def mean(self, name: str) -> float:
        """Return the mean over the scans of one of the numbers in `changes`."""
        values = [float(change[name]) for change in self.changes.values()]
        return sum(values) / max(1, len(values))


def read_report(path: Path) -> CohortReport | None:
    """Return the report in a file; None where there is none, or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = {item.name for item in fields(CohortReport)}
        return CohortReport(**content) if content.keys() == known else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None
