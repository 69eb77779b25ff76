"""Small JSON files beside the copies of series."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from filelock import FileLock

from lib.refusals import InvalidRequestError
from strokelabel.io import atomic_write_json

_LARGEST_BYTES = 1_000_000


def read_record(path: Path) -> dict[str, Any]:
    """A JSON object from a file; {} when it is missing or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class Notes:
    """What clients write about images and labels: a PACS has no place for it.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()  # among threads; the file lock is among processes
        self._lock = FileLock(path.with_name(f".{path.name}.lock"), thread_local=False, poll_interval=0.01)

    def get(self, key: str) -> dict[str, Any]:
        """What is noted under a key."""
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
