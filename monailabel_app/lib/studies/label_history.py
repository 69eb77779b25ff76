"""History of labels, from which overwritten or deleted versions can be restored."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from lib.studies.label_versions import LabelVersion, history_folder, list_versions
from lib.studies.scan_list import LABEL_SUFFIXES, split_suffix
from strokelabel.hashing import sha256_of_file
from strokelabel.io.atomic import atomic_path, atomic_write_json

MOST_VERSIONS = 20
"""Versions kept of each label; the oldest go."""


class LabelHistory:
    """Versions of all labels of a studies folder.

    Args:
        labels: the folder "labels".
        most: versions to keep of each label.
    """

    def __init__(self, labels: Path, most: int = MOST_VERSIONS) -> None:
        self._labels = labels
        self._most = most

    def versions(self, tag: str, label_id: str) -> list[LabelVersion]:
        """Return the versions of a label, newest first."""
        return list_versions(self._labels, tag, label_id)

    def add(
        self,
        tag: str,
        label_id: str,
        suffix: str,
        write: Callable[[Path], object],
        info: dict[str, Any],
        reason: str,
    ) -> LabelVersion:
        """Keep a label as its newest version, and forget the oldest.

        Args:
            tag: the label's.
            label_id: whose label it is.
            suffix: of the file.
            write: writes the label to a path with that suffix.
            info: about the label.
            reason: for the record.

        Raises:
            OutputError: it cannot be written.
        """
        folder = history_folder(self._labels, tag, label_id)
        name = _new_name(folder)
        kept = folder / f"{name}{suffix}"
        with atomic_path(kept) as temporary:
            write(temporary)
        record = {
            "image": label_id, "tag": tag, "saved": name, "file": kept.name, "sha256": sha256_of_file(kept),
            "reason": reason, "client_id": info.get("client_id"), "info": info,
        }  # fmt: skip
        atomic_write_json(folder / f"{name}.json", record)  # last: without its record a version is none
        for version in self.versions(tag, label_id)[self._most :]:
            (folder / f"{version.name}.json").unlink(missing_ok=True)
            version.file.unlink(missing_ok=True)
        return LabelVersion(name, kept, record)

    def secure(self, tag: str, label_id: str, file: Path, info: dict[str, Any]) -> None:
        """Keep a label that is about to go, unless it is a version already: files may come by other ways."""
        if file.is_file() and self._version_of(tag, label_id, file) is None:
            suffix = split_suffix(file.name, LABEL_SUFFIXES)[1]
            self.add(tag, label_id, suffix, partial(shutil.copyfile, file), info, "found")

    def info_of(self, tag: str, label_id: str, file: Path) -> dict[str, Any] | None:
        """Return the information about a label file, by its content; None if there is none."""
        version = self._version_of(tag, label_id, file)
        info = version.record.get("info") if version is not None else None
        return info if isinstance(info, dict) else None

    def note_info(self, tag: str, label_id: str, info: dict[str, Any]) -> None:
        """Take over what changed about the newest version."""
        self._amend(tag, label_id, {"info": info})

    def note_deletion(self, tag: str, label_id: str) -> None:
        """Write down that the label was deleted."""
        self._amend(tag, label_id, {"deleted": _now()})

    def _amend(self, tag: str, label_id: str, changes: dict[str, Any]) -> None:
        for version in self.versions(tag, label_id)[:1]:
            path = history_folder(self._labels, tag, label_id) / f"{version.name}.json"
            atomic_write_json(path, version.record | changes)

    def _version_of(self, tag: str, label_id: str, file: Path) -> LabelVersion | None:
        versions = self.versions(tag, label_id)
        digest = sha256_of_file(file) if versions else ""
        return next((version for version in versions if version.record.get("sha256") == digest), None)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def _new_name(folder: Path) -> str:
    while (folder / f"{(name := _now())}.json").exists():
        pass  # within one microsecond
    return name
