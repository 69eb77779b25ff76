"""Telling DICOM files from others without reading them."""

from __future__ import annotations

from pathlib import Path

_PREAMBLE_BYTES = 128
_MARK = b"DICM"
_FIRST_GROUPS = (2, 8)
_FIRST_ELEMENTS = (0x0, 0x1, 0x5, 0x8, 0x12, 0x16, 0x18)
"""Elements that a data set without preamble can begin with, in either group."""
_MOST_BYTES_OF_FIRST_ELEMENT = 256


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM: by the mark after its preamble, or by its first element where it has no preamble."""
    try:
        with path.open("rb") as file:
            start = file.read(_PREAMBLE_BYTES + len(_MARK))
    except OSError:
        return False
    return start[_PREAMBLE_BYTES:] == _MARK or begins_with_an_element(start)


def begins_with_an_element(start: bytes) -> bool:
    """Whether bytes begin with an element that DICOM data sets begin with: files without preamble do."""
    group, element = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    if len(start) < 12 or group not in _FIRST_GROUPS or element not in _FIRST_ELEMENTS:
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return explicit or int.from_bytes(start[4:8], "little") <= _MOST_BYTES_OF_FIRST_ELEMENT
