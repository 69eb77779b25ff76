"""Rows of the annotation report, from a studies folder as the server keeps it, and changes of predicted labels.

Needs no server.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from strokelabel.errors import DataError, StrokeLabelError
from strokelabel.geometry import Grid, bring_to_grid
from strokelabel.io.label_files import LESION_NAME, lesion_value, read_label_file
from strokelabel.metrics import dice
from strokelabel.types import Affine, Mask, PathLike


@dataclass(frozen=True)
class LabelChange:
    """From a predicted lesion to the submitted one.

    Attributes:
        dice: of the two; both empty 1, one empty 0 (`metrics.empty.ISLES_OVERLAP`).
        before_ml: volume of the predicted lesion.
        after_ml: volume of the submitted lesion.
        added_ml: what the annotator added.
        removed_ml: what the annotator removed.
    """

    dice: float
    before_ml: float
    after_ml: float
    added_ml: float
    removed_ml: float


@dataclass(frozen=True, eq=False)
class LesionLabel:
    """Lesion in a label file.

    Attributes:
        mask: (i, j, k).
        affine: voxel index to RAS mm.
    """

    mask: Mask
    affine: Affine

    @property
    def grid(self) -> Grid:
        """Shape and affine together."""
        i, j, k = self.mask.shape
        return Grid((i, j, k), self.affine)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return self.grid.voxel_volume_ml

    @property
    def volume_ml(self) -> float:
        """Volume of the lesion."""
        return float(np.count_nonzero(self.mask)) * self.voxel_ml


def read_lesion(path: Path, info: Mapping[str, Any]) -> LesionLabel:
    """Read what is lesion in a label.

    Args:
        path: NIfTI or NRRD.
        info: what its viewer or the infer task said about it; see `strokelabel.io.label_files.lesion_value`.

    Raises:
        ImageError: the file cannot be read.
        LabelMapError: it is not one label map, or names classes of which none is the lesion.
    """
    value = lesion_value(info)
    file = read_label_file(path, None if value is None else {LESION_NAME: value})
    return LesionLabel(file.data > 0 if value is None else file.data == value, file.affine)


def compare(predicted: LesionLabel, submitted: LesionLabel) -> LabelChange:
    """Return the changes, on the grid of the submitted label.

    Raises:
        GeometryError: the two are on different grids; axes in another order or direction are no difference.
    """
    before = bring_to_grid(predicted.mask, predicted.grid, submitted.grid, "prediction", "the label")
    after, voxel_ml = submitted.mask, submitted.voxel_ml
    return LabelChange(
        dice=dice(after, before),
        before_ml=float(np.count_nonzero(before)) * voxel_ml,
        after_ml=submitted.volume_ml,
        added_ml=float(np.count_nonzero(after & ~before)) * voxel_ml,
        removed_ml=float(np.count_nonzero(before & ~after)) * voxel_ml,
    )


DATASTORE = "datastore_v2.json"
"""File of MONAI Label's records of images and labels."""

SUBMITTED, PREDICTED = "final", "original"
"""Tags of the labels."""

UNKNOWN_VERSION = "unknown"


@dataclass(frozen=True)
class AnnotationRow:
    """One submitted label. Volumes in ml; None where it is not known.

    Attributes:
        image: id of the scan.
        annotators: names of the clients that submitted it.
        strategy: that offered the scan to them.
        served: when the scan was given to the annotator, ISO 8601, UTC.
        submitted: when the label was submitted, ISO 8601, UTC.
        minutes: from one to the other: with breaks, since the server knows no better.
        time_spent_s: seconds of work, where the client measured them.
        model_version: that predicted what the annotator began with.
        status: of the label: "accepted", "corrected", ... where it is known.
        dice: of prediction and submitted label.
        before_ml: volume predicted.
        after_ml: volume submitted.
        added_ml: volume that the annotator added.
        removed_ml: volume that the annotator removed.
        note: why something is missing.
    """

    image: str
    annotators: str
    strategy: str | None
    served: str | None
    submitted: str | None
    minutes: float | None
    time_spent_s: float | None
    model_version: str | None
    status: str | None
    dice: float | None = None
    before_ml: float | None = None
    after_ml: float | None = None
    added_ml: float | None = None
    removed_ml: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class VersionRow:
    """Scores of the predictions of one model version.

    Attributes:
        model_version: its name.
        n: how many of its predictions were followed by a submitted label.
        median_dice: of these with what was submitted.
        median_changed_ml: added and removed by the annotators.
        first: when the first of the labels was submitted.
    """

    model_version: str
    n: int
    median_dice: float
    median_changed_ml: float
    first: str


def annotation_rows(studies: PathLike) -> list[AnnotationRow]:
    """Return a row for each submitted label, in the order of submission.

    Args:
        studies: folder that a server serves or served.

    Raises:
        DataError: nothing was served from there, or its record cannot be read.
    """
    folder = Path(studies)
    rows = []
    for image, entry in _objects(folder).items():
        labels = _mapping(entry.get("labels"))
        if SUBMITTED in labels:
            rows.append(_row(folder, image, _mapping(_mapping(entry.get("image")).get("info")), labels))
    return sorted(rows, key=lambda row: (row.submitted or "", row.image))


def version_rows(rows: Sequence[AnnotationRow]) -> list[VersionRow]:
    """Return the model versions in the order in which labels for their predictions were submitted."""
    by_version: dict[str, list[AnnotationRow]] = {}
    for row in rows:
        if row.dice is not None:
            by_version.setdefault(row.model_version or UNKNOWN_VERSION, []).append(row)
    return [
        VersionRow(
            version,
            len(own),
            round(median(row.dice or 0.0 for row in own), 4),
            round(median((row.added_ml or 0.0) + (row.removed_ml or 0.0) for row in own), 3),
            own[0].submitted or "",
        )
        for version, own in by_version.items()
    ]


def as_json(rows: Sequence[AnnotationRow]) -> dict[str, Any]:
    """Return the report for JSON."""
    return {
        "annotations": [asdict(row) for row in rows],
        "versions": [asdict(row) for row in version_rows(rows)],
    }


def as_tsv(rows: Sequence[AnnotationRow]) -> str:
    """Return a table with a row per label; "n/a", as in BIDS, for unknown values."""
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    names = [field.name for field in fields(AnnotationRow)]
    table.writerow(names)
    for row in rows:
        values = (getattr(row, name) for name in names)
        table.writerow(["n/a" if value in (None, "") else _one_line(value) for value in values])
    return text.getvalue()


def _row(
    folder: Path, image: str, info: Mapping[str, Any], labels: Mapping[str, Mapping[str, Any]]
) -> AnnotationRow:
    final, original = (_info(labels, tag) for tag in (SUBMITTED, PREDICTED))
    clients = [name for name in (final.get("client_id"),) if isinstance(name, str) and name]
    submitted = _number(final.get("ts"))
    strategy, served, client = _served(info, submitted, clients[0] if clients else None)
    known: dict[str, Any] = {
        "image": image,
        "annotators": ", ".join(clients or ([client] if client else [])),
        "strategy": strategy,
        "served": _time(served),
        "submitted": _time(submitted),
        "minutes": round((submitted - served) / 60, 2) if submitted and served else None,
        "time_spent_s": _number(final.get("time_spent_s")),
        "model_version": _version(original),
        "status": str(final["status"]) if final.get("status") else None,
    }
    return AnnotationRow(**known, **_change(folder, image, labels))


def _change(folder: Path, image: str, labels: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the volumes and Dice, or a note why there are none."""
    try:
        submitted = read_lesion(_path(folder, image, SUBMITTED, labels), _info(labels, SUBMITTED))
    except StrokeLabelError as error:
        return {"note": _note("submitted label", error)}
    after = {"after_ml": round(submitted.volume_ml, 4)}
    if PREDICTED not in labels:
        return {**after, "note": "no prediction was kept"}
    try:
        predicted = read_lesion(_path(folder, image, PREDICTED, labels), _info(labels, PREDICTED))
        change = compare(predicted, submitted)
    except StrokeLabelError as error:
        return {**after, "note": _note("prediction", error)}
    return {name: round(value, 4) for name, value in asdict(change).items()}


def _served(
    info: Mapping[str, Any], submitted: float | None, client: str | None
) -> tuple[str | None, float | None, str | None]:
    """Return the strategy, time and client of the last offer before a label was submitted; the annotator's own if there
    is one.
    """
    offers = [
        (str(name), when, entry.get("client_id"))
        for name, entry in _mapping(info.get("strategy")).items()
        if isinstance(entry, dict)
        and (when := _number(entry.get("ts")))
        and (submitted is None or when <= submitted)
    ]
    own = [offer for offer in offers if offer[2] == client] or offers
    if not own:
        return None, None, None
    name, when, who = max(own, key=lambda offer: offer[1])
    return name, when, who if isinstance(who, str) else None


def _version(info: Mapping[str, Any]) -> str | None:
    """Return the model version that a prediction names."""
    params = _mapping(info.get("params"))
    for holder in (info, params, _mapping(info.get("provenance")), _mapping(params.get("provenance"))):
        model = holder.get("model")
        version = model.get("version") if isinstance(model, dict) else holder.get("model_version")
        if isinstance(version, str) and version:
            return version
    return None


def _objects(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / DATASTORE
    try:
        objects = json.loads(path.read_text(encoding="utf-8"))["objects"]
        return {str(image): _mapping(entry) for image, entry in objects.items()}
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: expected {DATASTORE}, which a server writes, found none; name the studies folder"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected the record of MONAI Label's datastore ({error})") from error


def _path(folder: Path, image: str, tag: str, labels: Mapping[str, Mapping[str, Any]]) -> Path:
    return folder / "labels" / tag / f"{image}{labels[tag].get('ext', '')}"


def _info(labels: Mapping[str, Mapping[str, Any]], tag: str) -> dict[str, Any]:
    return _mapping(_mapping(labels.get(tag)).get("info"))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None  # type: ignore[arg-type]


def _time(seconds: float | None) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None
    except (OverflowError, OSError, ValueError):
        return None


def _note(label: str, error: StrokeLabelError) -> str:
    """Return why a label gave no numbers; its file goes by its name alone."""
    return f"{label}: {error.with_source(Path(error.source).name)}"


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
