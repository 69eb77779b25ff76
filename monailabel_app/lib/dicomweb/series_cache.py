"""Local copies of series, so that a click does not wait for the PACS, with small JSON files beside them."""

from __future__ import annotations

import json
import logging
import re
import shutil
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from lib.refusals import InvalidRequestError
from strokelabel.errors import OutputError
from strokelabel.io import atomic_write_json, read_image, write_nifti

_LARGEST_BYTES = 1_000_000


def read_record(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file; {} when it is missing or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class Notes:
    """Notes of clients about images and labels, which a PACS cannot store.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()  # among threads; the file lock is among processes
        self._lock = FileLock(path.with_name(f".{path.name}.lock"), thread_local=False, poll_interval=0.01)

    def get(self, key: str) -> dict[str, Any]:
        """Return the notes of a key."""
        found = read_record(self._path).get(key)
        return found if isinstance(found, dict) else {}

    def check(self, info: dict[str, Any] | None) -> None:
        """Refuse what could not be noted.

        Raises:
            InvalidRequestError: as `add`.
        """
        _plain_json(info)

    def add(self, key: str, info: dict[str, Any] | None) -> None:
        """Add to what is noted under a key.

        Raises:
            InvalidRequestError: values that JSON cannot hold (NaN), or too much.
        """
        plain = _plain_json(info)
        with self._guard, self._lock:
            notes = read_record(self._path)
            notes[key] = {**self.get(key), **plain}
            atomic_write_json(self._path, notes)


def _plain_json(info: dict[str, Any] | None) -> dict[str, Any]:
    try:
        text = json.dumps(info or {}, allow_nan=False)
        plain = json.loads(text)
    except (TypeError, ValueError):
        text, plain = "", None
    if not isinstance(plain, dict) or len(text) > _LARGEST_BYTES:
        raise InvalidRequestError(
            "info: expected a JSON object without NaN or infinity, below 1 MB, found something else."
        )
    return plain


logger = logging.getLogger(__name__)

IN_USE_S = 3600.0
"""Time for which a requested copy is kept whatever the bound: a training may be reading it."""

_USED = ".used"
"""File in the folder of a series whose time of change is that of the last request."""

_UID = re.compile(r"[0-9.]{1,64}")


class SeriesCache:
    """A folder with one sub-folder for each series: its instances, its scan and its labels as NIfTI.

    Args:
        folder: made, readable by its owner only, when missing.
        limit_bytes: above this, copies of series that are not in use are removed.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._limit = folder, limit_bytes
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OutputError(
                f"{folder}: expected a folder for copies of series, but {error.strerror}; set "
                "MONAI_LABEL_DATASTORE_CACHE_PATH to another."
            ) from error

    def scan(self, series: str) -> Path | None:
        """Return the scan as NIfTI, if there is a copy."""
        path = self._of(series) / "image" / f"{series}.nii.gz"
        return path if self._used(path) else None

    def get_scan(self, series: str, download: Callable[[Path], None]) -> Path:
        """Return the scan as NIfTI, downloaded if there is no copy.

        Args:
            series: its series instance UID.
            download: writes the instances to a folder.

        Raises:
            ImageError: the series is no scan that can be segmented.
        """
        self.get_instances(series, download)
        with self._locks[series]:
            path = self._of(series) / "image" / f"{series}.nii.gz"
            if not self._used(path):
                image = read_image(self._of(series) / "dicom")
                write_nifti(path, image.data, image, np.float32, "StrokeLabel")
            return path

    def get_instances(self, series: str, download: Callable[[Path], None]) -> Path:
        """Return the folder with the instances of a series, downloaded if there is no copy, as a whole.

        Raises:
            OutputError: no space for it.
        """
        with self._locks[series]:
            folder = self._of(series) / "dicom"
            if self._used(folder):
                return folder
            self._make_room()
            partial = self._of(series) / f".{uuid.uuid4().hex[:12]}"
            try:
                partial.mkdir(parents=True)
                download(partial)
                partial.replace(folder)
            except OSError as error:
                raise OutputError(
                    f"expected space for a copy of series {series}, but {error.strerror}; free some, or set "
                    "MONAI_LABEL_DATASTORE_CACHE_PATH to another folder."
                ) from error
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            return folder

    def get_label(self, series: str, instance: str, make: Callable[[Path], None]) -> Path:
        """Return a label as NIfTI, made if there is no copy.

        Args:
            series: the scan's series instance UID.
            instance: SOP instance UID of the SEG.
            make: writes the file.
        """
        path = self._of(series) / "labels" / _checked(instance) / f"{series}.nii.gz"
        with self._locks[instance]:
            if not self._used(path):
                make(path)
            return path

    def _of(self, series: str) -> Path:
        return self._folder / "series" / _checked(series)

    def _used(self, path: Path) -> bool:
        """Return whether a copy is there; if so, its series counts as used now.

        The copy itself keeps its time of change, by which scores and batches know that they are up to date.
        """
        if not path.exists():
            return False
        series = path.relative_to(self._folder / "series").parts[0]
        (self._folder / "series" / series / _USED).touch()
        return True

    def _make_room(self) -> None:
        """Remove series that were used longest ago until the rest is below the limit."""
        folders = [folder for folder in (self._folder / "series").glob("*") if folder.is_dir()]
        sizes = {folder: _size(folder) for folder in folders}
        total, now = sum(sizes.values()), time.time()
        for when, folder in sorted((_last_used(folder), folder) for folder in folders):
            if total <= self._limit or now - when < IN_USE_S:
                break
            logger.info(f"The copy of series {folder.name} is removed to keep the cache within its bound")
            shutil.rmtree(folder, ignore_errors=True)
            total -= sizes[folder]


def _last_used(folder: Path) -> float:
    parts = [*folder.glob("*"), *folder.glob("*/*")]
    return max((part.stat().st_mtime for part in parts), default=0.0)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _checked(uid: str) -> str:
    if not _UID.fullmatch(uid) or not uid.strip("."):
        raise InvalidRequestError(f"expected a DICOM identifier of digits and dots, found {uid[:70]!r}.")
    return uid
