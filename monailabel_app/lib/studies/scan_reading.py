"""Scans: reading one, and what is known about all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from monailabel.interfaces.datastore import Datastore

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


def image_infos(datastore: Datastore) -> Mapping[str, Mapping[str, Any]]:
    """Return the information about each image of any datastore, by id; not to be changed."""
    if hasattr(datastore, "image_infos"):
        infos: Mapping[str, Mapping[str, Any]] = datastore.image_infos()
        return infos
    return {image: datastore.get_image_info(image) for image in datastore.list_images()}
