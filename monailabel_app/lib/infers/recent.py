"""The scans that were asked for last, so that the next click does not wait for files."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from lib.scans import read_scan
from strokelabel.hashing import sha256_of_file
from strokelabel.io.images import Image

_RECENT = 2


@dataclass(frozen=True)
class ScanSource:
    """Where a scan is read from.

    Attributes:
        path: a NIfTI file or a folder of DICOM files.
        name: what the client calls it.
    """

    path: str
    name: str


class RecentScans:
    """The last few scans in memory, known by their content."""

    def __init__(self) -> None:
        self._scans: OrderedDict[tuple[str, str], Image] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, source: ScanSource, content: str) -> Image:
        """A scan, read if it is not in memory.

        Args:
            source: where it is.
            content: `content_of` it.

        Raises:
            ImageError: it cannot be segmented.
        """
        key = (content, source.name)
        with self._lock:
            if content and key in self._scans:
                self._scans.move_to_end(key)
                return self._scans[key]
        image = read_scan(source.path, source.name)
        with self._lock:
            self._scans[key] = image
            while len(self._scans) > _RECENT:
                self._scans.popitem(last=False)
        return image


def content_of(path: str) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files; "" if something cannot be read."""
    place = Path(path)
    try:
        if place.is_file():
            return sha256_of_file(place)
        digest = hashlib.sha256()
        for file in sorted(p for p in place.rglob("*") if p.is_file()):
            digest.update(
                f"{file.relative_to(place)}\0{sha256_of_file(file)}\0".encode("utf-8", "surrogatepass")
            )
        return digest.hexdigest() if place.is_dir() else ""
    except OSError:
        return ""
