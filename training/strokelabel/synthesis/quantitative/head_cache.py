"""Heads of quantitative maps, kept so that each is registered once."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import fields
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from strokelabel.errors import DataError, ImageError, OutputError
from strokelabel.io.atomic import atomic_path
from strokelabel.io.map_files import MapFiles, find_map_files
from strokelabel.synthesis.quantitative.files import make_quantitative_head, read_map_volumes
from strokelabel.synthesis.quantitative.heads import QuantitativeHead

_VERSION = "1"
"""Another one when `make_quantitative_head` changes."""

_LOG = logging.getLogger(__name__)


def load_quantitative_heads(folder: Path, spacing_mm: float, cache: Path) -> list[QuantitativeHead]:
    """Load the heads of all maps in a folder, from the cache if possible.

    A head that cannot be used is left out with a warning.

    Args:
        folder: see `io.map_files.find_map_files`.
        spacing_mm: working voxel size.
        cache: folder to keep heads in.

    Raises:
        DataError: no maps, or none that can be used.
    """
    heads = []
    for files in find_map_files(folder):
        try:
            heads.append(_load(files, spacing_mm, cache))
        except (ImageError, DataError) as error:
            _LOG.warning("%s; this head is left out", error)
    if not heads:
        raise DataError(f"{folder}: expected quantitative maps of heads, none of those there can be used")
    return heads


def _load(files: MapFiles, spacing_mm: float, cache: Path) -> QuantitativeHead:
    """Return one head; computed and stored if the cache has none, a damaged one, or one of other files."""
    path = cache / f"{files.name}_{_digest(files)}_{spacing_mm:g}mm.safetensors"
    try:
        tensors = load_file(path)
        return QuantitativeHead(*(tensors[f.name] for f in fields(QuantitativeHead)))
    except (OSError, KeyError, SafetensorError):
        head = make_quantitative_head(read_map_volumes(files), spacing_mm, files.name)
    try:
        with atomic_path(path) as temporary:
            save_file(
                {f.name: getattr(head, f.name).clone().contiguous() for f in fields(QuantitativeHead)},
                temporary,
            )
    except (OutputError, SafetensorError) as error:
        _LOG.warning("%s; continuing without it, heads are computed again the next time", error)
    return head


def _digest(files: MapFiles) -> str:
    """Return a digest of the files' names, sizes and times, without reading gigabytes."""
    digest = hashlib.sha256(_VERSION.encode())
    for path in (*files.maps.values(), files.tissues, files.lesion):
        if path is not None:
            state = path.stat()
            digest.update(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]
