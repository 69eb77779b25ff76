"""Copies in NIfTI of scans in other formats: what viewers download, since all of them read that."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np

from lib.studies.scan_list import NIFTI_SUFFIX, read_scan
from strokelabel.errors import ImageError
from strokelabel.io.images import write_nifti
from strokelabel.io.nifti import is_nifti_name
from strokelabel.io.volumes import files_of


class NiftiCopies:
    """Copies of scans, each made when it is first requested and again when its scan has changed.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def of(self, image_id: str, scan: Path) -> Path:
        """Return the NIfTI file of a scan: its own, or a copy with the same voxels on the same grid.

        Raises:
            ImageError: it cannot be read.
            OutputError: the copy cannot be written.
        """
        if is_nifti_name(scan):
            return scan
        copy = self._folder / image_id / _state(scan) / f"{image_id}{NIFTI_SUFFIX}"
        with self._lock:  # else one request would remove what another has just made
            if not copy.is_file():
                image = read_scan(str(scan), image_id)
                self.forget(image_id)  # of an earlier state
                write_nifti(copy, image.data, image, _smallest_type(image.data))
        return copy

    def forget(self, image_id: str) -> None:
        """Remove the copy of a scan, if there is one."""
        shutil.rmtree(self._folder / image_id, ignore_errors=True)


def files_of_scan(scan: Path) -> tuple[Path, ...]:
    """Return the files that hold a scan; the one that is named where its header cannot be read."""
    try:
        return files_of(scan)
    except ImageError:
        return (scan,)


def _state(scan: Path) -> str:
    """Return a text that changes when one of a scan's files does."""
    states = [file.stat() for file in files_of_scan(scan) if file.is_file()]
    return "-".join(f"{state.st_size:x}.{state.st_mtime_ns:x}" for state in states)


def _smallest_type(data: np.ndarray) -> type[np.int16] | type[np.float32]:
    """Return int16 where that holds all values, which is half as large."""
    limits = np.iinfo(np.int16)
    fits = limits.min <= data.min() and data.max() <= limits.max and np.array_equal(data, np.rint(data))
    return np.int16 if fits else np.float32
