"""Reading the scan of a request."""

from __future__ import annotations

from dataclasses import replace

from strokelabel.errors import ImageError
from strokelabel.io.images import Image, read_image


def read_scan(path: str, name: str) -> Image:
    """Read a scan, or say why not in words that leave out where the server keeps it.

    Args:
        path: a NIfTI file or a folder of DICOM files.
        name: what the client calls it.

    Raises:
        ImageError: of the same kind as `strokelabel.io.read_image` raises.
    """
    try:
        return replace(read_image(path), source=name)
    except ImageError as error:
        raise error.with_source(name) from error
