"""Report of an adaptation to a cohort: outputs before and after it, and what speaks against the adapted model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from strokelabel.adaptation.cohort.pseudo_labels import LabelledScan
from strokelabel.adaptation.safety import OutputSummary, spoiled
from strokelabel.inference.batch import ScanRow

TOLERATED = 0.1
"""Fraction of the scans whose lesion or brain may collapse or spread; of fewer than ten scans, none."""

_DIGITS = 5


@dataclass(frozen=True)
class ScanChange:
    """Output for a scan before and after.

    Attributes:
        source: the scan.
        plain: before.
        adapted: after.
    """

    source: str
    plain: OutputSummary
    adapted: OutputSummary

    @property
    def objection(self) -> str:
        """Objection to the adapted output; "" for none."""
        return spoiled(self.plain, self.adapted)

    def as_json(self) -> dict[str, Any]:
        """Return the change as a JSON object; entropies in nats, volumes in ml."""
        numbers = {
            "entropy_before": self.plain.entropy,
            "entropy_after": self.adapted.entropy,
            "volume_before_ml": self.plain.lesion_ml,
            "volume_after_ml": self.adapted.lesion_ml,
            "brain_before_ml": self.plain.brain_ml,
            "brain_after_ml": self.adapted.brain_ml,
        }
        rounded = {name: round(number, _DIGITS) for name, number in numbers.items()}
        return {**rounded, "objection": self.objection}


def objections(changes: Sequence[ScanChange]) -> list[str]:
    """Return what speaks against a model, for users; nothing where nothing does.

    Args:
        changes: of all scans, at least one.
    """
    spoilt = [change for change in changes if change.objection]
    against = []
    if len(spoilt) > TOLERATED * len(changes):
        named = "; ".join(f"{change.source}: {change.objection}" for change in spoilt[:3])
        against.append(f"{len(spoilt)} of {len(changes)} scans are spoiled ({named})")
    before, after = (
        sum(getattr(change, part).entropy for change in changes) / len(changes)
        for part in ("plain", "adapted")
    )
    if not after < before:
        against.append(f"the mean entropy did not fall ({before:.4f} to {after:.4f})")
    return against


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
