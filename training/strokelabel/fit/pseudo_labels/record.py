"""Record of each pseudo-label, and the quality gate."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from strokelabel.errors import DataError, OptionError
from strokelabel.io.atomic import atomic_write_json
from strokelabel.io.bids import sidecar_path
from strokelabel.io.tables import read_table

KEY = "pseudo_label"
"""Key of a mask's sidecar that holds the record."""

SIDECARS = "*_mask.json"

PSEUDO: Final = "pseudo"
ACCEPTED: Final = "accepted"
CORRECTED: Final = "corrected"
REJECTED: Final = "rejected"

Review = Literal["pseudo", "accepted", "corrected", "rejected"]
"""Review of a mask: not reviewed, accepted as it is, repainted in place, or rejected."""


@dataclass(frozen=True)
class QualityGate:
    """Conditions for training on a mask.

    Attributes:
        minimum_confidence: mean lesion probability inside the mask.
        minimum_ml: volume of the mask on the scan's grid.
        minimum_similarity: correlation of the predicted tissues with the ICBM template after alignment.
        minimum_inside: fraction of the mask that lies in or near the template's brain.

    Raises:
        OptionError: a value out of range.
    """

    minimum_confidence: float = 0.7
    minimum_ml: float = 1.0
    minimum_similarity: float = 0.8
    minimum_inside: float = 0.9

    def __post_init__(self) -> None:
        for name in ("minimum_confidence", "minimum_similarity", "minimum_inside"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"expected a {name} of 0 to 1, got {getattr(self, name)}")
        if not 0 <= self.minimum_ml < float("inf"):
            raise OptionError(f"expected a minimum_ml of 0 or more, got {self.minimum_ml}")

    def objections(self, measures: PseudoMeasures) -> tuple[str, ...]:
        """Return the reasons why a mask is not accepted; none if it is."""
        if measures.volume_ml == 0:
            return ("no lesion was found",)
        found = []
        if measures.volume_ml < self.minimum_ml:
            found.append(f"the lesion has {measures.volume_ml:.2f} ml, expected {self.minimum_ml:g} or more")
        if measures.mean_confidence < self.minimum_confidence:
            found.append(
                f"the mean confidence is {measures.mean_confidence:.2f}, expected {self.minimum_confidence:g} or more"
            )
        if measures.similarity is None:
            found.append("no brain was recognised to align with ICBM space")
        elif measures.similarity < self.minimum_similarity:
            found.append(
                f"the correlation with the ICBM template is {measures.similarity:.2f} after alignment, "
                f"expected {self.minimum_similarity:g} or more"
            )
        if measures.inside is not None and measures.inside < self.minimum_inside:
            found.append(
                f"{measures.inside:.0%} of the lesion lies in or near the template's brain, "
                f"expected {self.minimum_inside:.0%} or more"
            )
        return tuple(found)


@dataclass(frozen=True)
class PseudoMeasures:
    """Measures of a mask for the `QualityGate`. None where no alignment was possible."""

    volume_ml: float
    mean_confidence: float
    similarity: float | None
    inside: float | None


@dataclass(frozen=True)
class PseudoLabel:
    """A mask that a model drew, and what is known about it.

    Attributes:
        mask: path of the mask inside the folder of pseudo-labels.
        source: path of the scan.
        measures: what it is judged by.
        to_icbm: RAS mm of the scan to ICBM RAS mm, four rows of four; None where no alignment was possible.
        gate: what it is judged by.
        status: what an annotator made of it; comes before the gate.
    """

    mask: str
    source: str
    measures: PseudoMeasures
    to_icbm: tuple[tuple[float, ...], ...] | None
    gate: QualityGate
    status: Review = PSEUDO

    @property
    def reasons(self) -> tuple[str, ...]:
        """Reasons why it is not accepted; none if it is."""
        return self.gate.objections(self.measures)

    @property
    def accepted(self) -> bool:
        """True if the quality gate accepts it."""
        return not self.reasons

    @property
    def is_kept(self) -> bool:
        """True if an annotator accepted it, so that no model may replace it."""
        return self.status in ("accepted", "corrected")

    def trains(self, gate: bool = True) -> bool:
        """Return whether it may be trained on: by the annotator's review; without one by the gate, if that counts."""
        if self.status == "rejected":
            return False
        return self.is_kept or self.accepted or not gate

    @property
    def is_mapped(self) -> bool:
        """True if the scan was aligned well enough with ICBM space to map the mask there."""
        similarity = self.measures.similarity
        return self.to_icbm is not None and (similarity or 0.0) >= self.gate.minimum_similarity

    def to_json(self) -> dict[str, Any]:
        """Return the record for a sidecar."""
        return {
            "status": self.status,
            "accepted": self.accepted,
            "reasons": list(self.reasons),
            **asdict(self.measures),
            "to_icbm": None if self.to_icbm is None else [list(row) for row in self.to_icbm],
            "gate": asdict(self.gate),
        }


def read_pseudo_labels(folder: Path) -> tuple[PseudoLabel, ...]:
    """Return all records of a folder that `strokelabel pseudo-label` wrote, by path.

    Raises:
        DataError: no such folder, no record in it, or a damaged one.
    """
    paths = sorted(folder.rglob(SIDECARS)) if folder.is_dir() else []
    labels = [label for path in paths if (label := read_pseudo_label(path, folder)) is not None]
    if not labels:
        raise DataError(
            f"{folder}: expected masks with records of `strokelabel pseudo-label`, found none; label a cohort first"
        )
    return tuple(labels)


def read_pseudo_label(path: Path, folder: Path) -> PseudoLabel | None:
    """Read the record of one sidecar; None if it is not a record of a pseudo-label.

    Raises:
        DataError: it is one, but damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or KEY not in content:
        return None
    record = content[KEY]
    try:
        return PseudoLabel(
            mask=path.relative_to(folder).with_suffix(".nii.gz").as_posix(),
            source=str(content["Sources"][0]),
            measures=PseudoMeasures(**{name: record[name] for name in PseudoMeasures.__dataclass_fields__}),
            to_icbm=_rows(record["to_icbm"]),
            gate=QualityGate(**record["gate"]),
            status=_checked_status(record.get("status", "pseudo")),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{path}: the record of a pseudo-label is damaged ({error}); label the scan again"
        ) from error


def write_review(mask: Path, folder: Path, status: Review) -> PseudoLabel:
    """Write an annotator's decision into the record of a mask.

    Args:
        mask: the mask's file.
        folder: of the pseudo-labels.
        status: the decision.

    Returns:
        The record as it is now.

    Raises:
        DataError: the mask has no record, or a damaged one.
        OptionError: no such status.
    """
    path = sidecar_path(mask)
    label = read_pseudo_label(path, folder)
    if label is None:
        raise DataError(
            f"{mask}: expected a mask of `strokelabel pseudo-label`, found no record of one beside it"
        )
    try:
        label = replace(label, status=_checked_status(status))
    except ValueError as error:
        raise OptionError(str(error)) from error
    content = json.loads(path.read_text(encoding="utf-8"))
    atomic_write_json(path, content | {KEY: label.to_json()})
    return label


def write_reviews(table: Path, folder: Path) -> int:
    """Write the decisions of a table into the records of a folder.

    Args:
        table: with the columns `mask` (its path inside the folder) and `review`; rows without a review are left alone.
            A copy of `pseudo-labels.csv` will do. See `io.tables` for formats.
        folder: of the pseudo-labels.

    Returns:
        The number of reviews in the table.

    Raises:
        DataError: not such a table, a status that is none, or a mask without a record; then no record is changed.
    """
    content = read_table(table)
    if missing := {"mask", "review"} - set(content.columns):
        raise DataError(
            f"expected the columns mask and review, found no {' and no '.join(sorted(missing))}", source=table
        )
    decisions: dict[Path, Review] = {}
    for line, row in zip(content.lines, content.rows, strict=True):
        if not row["review"]:
            continue
        mask = folder / row["mask"]
        try:
            decisions[mask] = _checked_status(row["review"])
        except ValueError as error:
            raise DataError(f"line {line}: {error}", source=table) from error
        if not row["mask"] or read_pseudo_label(sidecar_path(mask), folder) is None:
            raise DataError(
                f"line {line}: expected a mask of {folder} with a record, found {row['mask']!r}", source=table
            )
    for mask, status in decisions.items():
        write_review(mask, folder, status)
    return len(decisions)


def _checked_status(value: Any) -> Review:  # noqa: ANN401 - from JSON
    for status in get_args(Review):
        if value == status:
            return status  # type: ignore[no-any-return]
    raise ValueError(f"expected a status of {', '.join(get_args(Review))}, found {value!r}")


def _rows(value: Any) -> tuple[tuple[float, ...], ...] | None:  # noqa: ANN401 - from JSON
    if value is None:
        return None
    rows = tuple(tuple(float(cell) for cell in row) for row in value)
    if [len(row) for row in rows] != [4] * 4:
        raise ValueError("to_icbm is not four rows of four")
    return rows
