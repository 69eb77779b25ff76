"""Earlier versions of labels, found and copied out; needs nothing but Python, so that it works when all else is lost.

labels/.history/<tag>/<id>/<UTC time>.nii.gz is a version of a label and <UTC time>.json its record. The newest
one is the label itself, unless that was deleted.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HISTORY = ".history"


@dataclass(frozen=True)
class LabelVersion:
    """One version of a label.

    Attributes:
        name: UTC time at which it was kept, such as 20250131T235959.123456Z.
        file: the labels.
        record: image, tag, sha256, reason ("submitted", "restored", "found"), info as the datastore holds it,
            and "deleted", a UTC time, if the label was deleted while this was its newest version.
    """

    name: str
    file: Path
    record: dict[str, Any]


def history_folder(labels: Path, tag: str, label_id: str) -> Path:
    """Return the folder of the versions of a label, given the studies' folder "labels"."""
    return labels / HISTORY / tag / label_id


def list_versions(labels: Path, tag: str, label_id: str) -> list[LabelVersion]:
    """Return the versions of a label, newest first; versions whose file or record is missing are left out."""
    found = []
    for path in sorted(history_folder(labels, tag, label_id).glob("*.json"), reverse=True):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            file = path.parent / str(record["file"])
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if file.parent == path.parent and file.is_file():
            found.append(LabelVersion(path.stem, file, record))
    return found


def copy_version(labels: Path, tag: str, label_id: str, name: str, target: Path) -> Path:
    """Copy a version out of the history.

    Args:
        labels: the studies' folder "labels".
        tag: of the label, such as "final".
        label_id: id of its image.
        name: of the version.
        target: file or folder to copy to.

    Raises:
        LookupError: there is no such version.
    """
    for version in list_versions(labels, tag, label_id):
        if version.name == name:
            return Path(shutil.copy(version.file, target))
    raise LookupError(name)
