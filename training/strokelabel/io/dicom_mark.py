"""Detection of DICOM files without reading them."""

from __future__ import annotations

from pathlib import Path

_PREAMBLE_BYTES = 128


def is_dicom_file(path: Path) -> bool:
    """Return whether a file carries the DICOM mark after its preamble."""
    try:
        with path.open("rb") as file:
            file.seek(_PREAMBLE_BYTES)
            return file.read(4) == b"DICM"
    except OSError:
        return False
