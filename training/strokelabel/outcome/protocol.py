"""Protocol of an evaluation: a lock box that is opened once, and folds that anyone can make again.

Both follow from the SHA-256 of patients' ids alone, not from a random generator or the order of a table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from strokelabel.errors import DataError
from strokelabel.io.atomic import atomic_write_json

LOCK_BOX_FRACTION: Final = 0.2

REGRESSION_FOLDS: Final = 10
REGRESSION_REPEATS: Final = 5
CLASSIFICATION_FOLDS: Final = 4
CLASSIFICATION_SEEDS: Final = 20
"""As many as White et al. 2024 take: 80 runs."""


def _position(text: str) -> float:
    """Return a number from 0 to 1 that looks random and depends on a text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def in_lock_box(outcome: str, ids: Sequence[str]) -> NDArray[np.bool_]:
    """Return which patients are in the lock box: one in five, whatever other patients there are.

    Args:
        outcome: name of the outcome.
        ids: of the patients.
    """
    return np.array([_position(f"lock box/{outcome}/{name}") < LOCK_BOX_FRACTION for name in ids], dtype=bool)


def make_folds(
    ids: Sequence[str], count: int, seed: int, classes: NDArray[np.bool_] | None = None
) -> NDArray[np.intp]:
    """Return the fold of each patient, 0 to `count` - 1; folds differ by one patient at most.

    Args:
        ids: of the patients, unique.
        count: number of folds.
        seed: another seed gives other folds.
        classes: (patients,); each fold gets the same share of them.

    Raises:
        DataError: fewer patients than folds, or of one class.
    """
    keys = np.array([_position(f"fold/{seed}/{name}") for name in ids])
    classes = np.zeros(len(ids), dtype=bool) if classes is None else classes
    smallest = min(int((classes == one).sum()) for one in np.unique(classes)) if len(ids) else 0
    if smallest < count:
        raise DataError(
            f"expected at least {count} patients (of each class) for {count} folds, found {smallest}; add patients"
        )
    folds = np.empty(len(ids), dtype=np.intp)
    folds[np.lexsort((keys, classes))] = np.arange(len(ids)) % count
    return folds


@dataclass(frozen=True)
class Opening:
    """Record of a lock box that was opened.

    Attributes:
        outcome: name of the outcome.
        model: SHA-256 of the model file.
        patients: SHA-256 of the ids of the patients in the lock box.
        n: how many they are.
        opened: date and time, UTC.
        scores: what was found.
    """

    outcome: str
    model: str
    patients: str
    n: int
    opened: str
    scores: dict[str, float]


def read_opening(record: Path) -> Opening | None:
    """Return the record of an opening; None where there is none.

    Raises:
        DataError: the file is not such a record.
    """
    if not record.exists():
        return None
    try:
        return Opening(**json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"expected the record of a lock box, which cannot be read ({error})", source=record
        ) from error


def check_may_open(record: Path, outcome: str, model: str) -> Opening | None:
    """Return the earlier opening with the same model; None where the lock box is still closed.

    Args:
        record: file of the opening.
        outcome: name of the outcome.
        model: SHA-256 of the model file.

    Raises:
        DataError: it was opened with another model or for another outcome; a lock box is opened once.
    """
    earlier = read_opening(record)
    if earlier is not None and (earlier.outcome, earlier.model) != (outcome, model):
        raise DataError(
            f"expected a lock box that is closed, or was opened with this model; it was opened on {earlier.opened} for "
            f"{earlier.outcome} with another model ({earlier.model[:12]}). A second model would be chosen by the "
            "patients that judge it; evaluate it by cross-validation",
            source=record,
        )
    return earlier


def check_was_opened(record: Path, outcome: str) -> None:
    """Refuse to treat patients of a lock box as others before it was opened.

    Raises:
        DataError: there is no record of an opening for this outcome.
    """
    earlier = read_opening(record)
    if earlier is None or earlier.outcome != outcome:
        raise DataError(
            f"expected the record of the opened lock box of {outcome}, found none; run `strokelabel outcome "
            "open-lock-box` first",
            source=record,
        )


def write_opening(
    record: Path, outcome: str, model: str, ids: Sequence[str], scores: dict[str, float]
) -> Opening:
    """Record that the lock box was opened, atomically.

    Raises:
        OutputError: the record cannot be written.
    """
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    opening = Opening(outcome, model, digest, len(ids), now, scores)
    content: dict[str, Any] = asdict(opening)
    atomic_write_json(record, content)
    return opening
