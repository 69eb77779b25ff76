"""Masks that were not submitted, on this computer, so that nothing painted is lost."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..errors import StrokeLabelLibError
from ..files import write_atomically
from ..nifti import NiftiFiles, encode_nifti
from ..ops.strokes import LesionMask
from ..volume import Volume
from .case import Case, WorkingCopy

_BASE, _ADDED, _REMOVED = 1, 2, 4
"""Bits of a voxel in the file: what model or label said, what was painted, what was erased."""


class WorkingCopies:
    """Folder of one user's working copies.

    Each program has a file of its own, so that two pages on one scan never overwrite each other's work.

    Args:
        folder: made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owner = uuid.uuid4().hex[:8]

    def save(self, server: str, case: Case) -> None:
        """Write the case's mask in the place of this program's last copy of it.

        Raises:
            FileFormatError: the folder cannot be written to.
        """
        path = self._place(server, case.image.image_id) / f"{self._owner}.nii.gz"
        mask, provenance = case.mask, case.provenance
        bits = mask.base * np.uint8(_BASE) + mask.added * np.uint8(_ADDED) + mask.removed * np.uint8(_REMOVED)
        record = {
            "server": server,
            "image": case.image.image_id,
            "saved_at": time.time(),
            **provenance.as_json(),
        }
        write_atomically(path, encode_nifti(Volume(bits, case.grid.affine), level=1))
        write_atomically(path.with_name(f"{self._owner}.json"), json.dumps(record, indent=2).encode())

    def find(self, server: str, case: Case) -> WorkingCopy | None:
        """Return the newest copy for a scan that lies on the scan's grid; None if there is none."""
        folder = self._place(server, case.image.image_id)
        copies = [copy for path in sorted(folder.glob("*.json")) if (copy := _read(path, case)) is not None]
        return max(copies, key=lambda copy: copy.saved_at, default=None)

    def remove(self, copy: WorkingCopy) -> None:
        """Delete one copy."""
        _delete(copy.path)

    def remove_own(self, server: str, image_id: str) -> None:
        """Delete this program's copy of a scan: its work was submitted."""
        _delete(self._place(server, image_id) / f"{self._owner}.nii.gz")

    def _place(self, server: str, image_id: str) -> Path:
        """Return the folder of a server and scan; ids may contain characters that file names may not."""
        digest = hashlib.sha256(f"{server}\n{image_id}".encode()).hexdigest()[:16]
        readable = "".join(c if c.isalnum() or c in "-_" else "-" for c in image_id)[:60]
        return self._folder / f"{readable}-{digest}"


def _read(record_path: Path, case: Case) -> WorkingCopy | None:
    """Read a copy; None if it is damaged or belongs to another grid."""
    path = record_path.with_name(f"{record_path.stem}.nii.gz")
    try:
        record = json.loads(record_path.read_text(encoding="utf-8"))
        volume = NiftiFiles().read(path)
        saved_at = float(record["saved_at"])
    except (OSError, ValueError, KeyError, TypeError, StrokeLabelLibError):
        return None
    if not volume.grid.same_as(case.grid):
        return None
    parts = ((volume.data & bit) > 0 for bit in (_BASE, _ADDED, _REMOVED))
    model, edits = record.get("model") or {}, record.get("edits") or []
    return WorkingCopy(path, LesionMask(*parts), saved_at, dict(model), record.get("threshold"), tuple(edits))


def _delete(path: Path) -> None:
    for victim in (path, path.with_name(f"{path.name[: -len('.nii.gz')]}.json")):
        with suppress(OSError):
            victim.unlink()
