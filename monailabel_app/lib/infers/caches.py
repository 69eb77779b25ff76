"""Scans and results kept for the next click: the last requested scans, and results on disk."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import threading
import time
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.studies.scan_list import read_scan
from strokelabel.errors import OutputError
from strokelabel.inference.segment.prediction import Scores
from strokelabel.inference.several_passes import UncertaintyMaps
from strokelabel.io.atomic import atomic_path
from strokelabel.io.images import Image

_RECENT = 2


@dataclass(frozen=True)
class ScanSource:
    """File, folder or datastore entry of a scan.

    Attributes:
        path: a NIfTI file or a folder of DICOM files.
        name: what the client calls it.
    """

    path: str
    name: str


class RecentScans:
    """Last few scans in memory, known by their content."""

    def __init__(self) -> None:
        self._scans: OrderedDict[tuple[str, str], Image] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, source: ScanSource, content: str) -> Image:
        """Return a scan, which is read if it is not in memory.

        Args:
            source: where it is.
            content: `scan_content` of it.

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


logger = logging.getLogger(__name__)

SMALLEST = 2.0**-12
"""Probability below which zero is stored; also the largest error of a stored probability."""

DEFAULT_MEGABYTES = 2000

_SUFFIX = ".result"
_LESION_BIT = 0x80
_BRAIN_BIT = 0x40
_DIGEST_BYTES = 32
_ABANDONED_S = 3600.0
_MAPS = ("predictive_entropy", "mutual_information", "lesion_variance")


@dataclass(frozen=True, eq=False)
class StoredResult:
    """Packed output of the network for a scan.

    Attributes:
        arrays: by name, all of the shape of the box.
        about: JSON: "shape" and "start" of the box, notes and whatever else belongs to the result.
    """

    arrays: dict[str, np.ndarray]
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def pack(cls, scores: Scores, maps: UncertaintyMaps | None, **about: Any) -> StoredResult:  # noqa: ANN401
        """Pack scores, and maps if there are any."""
        labels = scores.other_labels | np.where(scores.lesion_is_likeliest, _LESION_BIT, 0).astype(np.uint8)
        if scores.brain is not None:
            labels |= np.where(scores.brain, _BRAIN_BIT, 0).astype(np.uint8)
        full = {"labels": labels, "lesion": _half(scores.lesion_probability)}
        if maps is not None:
            full |= {name: _half(getattr(maps, name)) for name in _MAPS}
        box = _box_of(full.values())
        arrays = {name: np.ascontiguousarray(array[box]) for name, array in full.items()}
        place = {"shape": labels.shape, "start": [side.start for side in box]}
        known = {"notes": list(scores.notes), "knows_brain": scores.brain is not None}
        return cls(arrays, {**about, **place, **known})

    def scores(self) -> Scores:
        """Return the scores on the scan's grid."""
        labels = self._full("labels")
        return Scores(
            lesion_probability=self._full("lesion").astype(np.float32),
            lesion_is_likeliest=labels & _LESION_BIT > 0,
            other_labels=labels & ~np.uint8(_LESION_BIT | _BRAIN_BIT),
            notes=tuple(self.about["notes"]),
            brain=labels & _BRAIN_BIT > 0 if self.about["knows_brain"] else None,
        )

    def maps(self) -> UncertaintyMaps | None:
        """Return the maps on the scan's grid; None if the entry has none."""
        if not set(_MAPS) <= self.arrays.keys():
            return None
        return UncertaintyMaps(*(self._full(name).astype(np.float32) for name in _MAPS))

    def _full(self, name: str) -> np.ndarray:
        part = self.arrays[name]
        result = np.zeros(self.about["shape"], part.dtype)
        start = self.about["start"]
        result[tuple(slice(a, a + n) for a, n in zip(start, part.shape, strict=True))] = part
        return result


class ResultCache:
    """Entries in a folder, the least recently used of which go when they are too many bytes.

    Several processes may use one folder: entries are written beside their place and renamed, and a damaged or
    vanished one is as if it had never been.

    Args:
        folder: made when first needed.
        most_bytes: of all entries; 0 switches the cache off.
    """

    def __init__(self, folder: Path, most_bytes: int = DEFAULT_MEGABYTES * 10**6) -> None:
        self._folder = folder
        self._most_bytes = most_bytes

    def has(self, key: str) -> bool:
        """Return whether there is an entry, readable or not."""
        return self._most_bytes > 0 and self._path(key).is_file()

    def get(self, key: str) -> StoredResult | None:
        """Return the entry of a key; None when there is none that can be read."""
        path = self._path(key)
        if not self.has(key):
            return None
        try:
            stored = _read(path)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            logger.warning(f"A cached result cannot be read and is computed again: {error!r}")
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # used last
        return stored

    def put(self, key: str, stored: StoredResult) -> None:
        """Keep an entry; a folder that cannot be written to is logged and otherwise ignored."""
        if self._most_bytes <= 0:
            return
        try:
            with atomic_path(self._path(key)) as temporary:
                _write(temporary, stored)
            self._make_room()
        except OutputError as error:
            logger.warning(f"A result could not be cached: {error}")

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"

    def _make_room(self) -> None:
        """Remove what a killed process left, and the entries used longest ago until the rest fits."""
        files = sorted(self._files(), key=lambda file: file[0])
        left = sum(size for _, size, _ in files)
        for used, size, path in files:
            abandoned = path.name.startswith(".") and used < time.time() - _ABANDONED_S
            if left > self._most_bytes or abandoned:
                with suppress(OSError):
                    path.unlink()
                left -= size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Yield the time of last use, the size and the path of each entry."""
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with suppress(OSError):  # another process was faster
                status = path.stat()
                yield status.st_mtime, status.st_size, path


def _half(values: np.ndarray) -> np.ndarray:
    return np.where(values < SMALLEST, 0, values).astype(np.float16)


def _box_of(arrays: Any) -> tuple[slice, slice, slice]:  # noqa: ANN401 - an iterable view of a dict
    """Return the smallest box outside which all arrays are zero."""
    sides: list[list[np.ndarray]] = [[], [], []]
    for array in arrays:
        used = array != 0
        flat = used.any(axis=2)
        for axis, profile in enumerate((flat.any(axis=1), flat.any(axis=0), used.any(axis=(0, 1)))):
            sides[axis].append(profile)
    bounds = [np.flatnonzero(np.logical_or.reduce(profiles)) for profiles in sides]
    i, j, k = (slice(int(b[0]), int(b[-1]) + 1) if b.size else slice(0, 1) for b in bounds)
    return i, j, k


def _write(path: Path, stored: StoredResult) -> None:
    """Write an entry: a check sum of all that follows, and a zip archive of arrays."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("about.json", json.dumps(stored.about))
        for name, array in stored.arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            archive.writestr(f"{name}.npy", buffer.getbuffer())
    path.write_bytes(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())


def _read(path: Path) -> StoredResult:
    """Read an entry.

    Raises:
        OSError, ValueError, KeyError, BadZipFile: it is not there, damaged, or of another release.
    """
    content = path.read_bytes()
    if hashlib.sha256(content[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
        raise ValueError("its check sum is wrong")
    with zipfile.ZipFile(io.BytesIO(content[_DIGEST_BYTES:])) as archive:
        about = json.loads(archive.read("about.json"))
        arrays = {
            name.removesuffix(".npy"): np.lib.format.read_array(
                io.BytesIO(archive.read(name)), allow_pickle=False
            )
            for name in archive.namelist()
            if name.endswith(".npy")
        }
    if not {"labels", "lesion"} <= arrays.keys() or not {"notes", "knows_brain"} <= about.keys():
        raise ValueError("incomplete")
    return StoredResult(arrays, about)
