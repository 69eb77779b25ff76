"""Heads at a working resolution, kept beside the prepared data so that training starts at once the next time."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from strokelabel.errors import OutputError
from strokelabel.io.atomic import atomic_path
from strokelabel.synthesis.head import Head, make_head
from strokelabel.synthesis.prepared import PreparedData

_FOLDER = "heads"
"""Name another one when `make_head` changes: a cache knows its data by their digest, but not the code."""

_LOG = logging.getLogger(__name__)


def load_heads(data: PreparedData, names: list[str], spacing_mm: float) -> list[Head]:
    """The named heads at this voxel size, from the cache where it has them.

    Args:
        data: a prepared folder.
        names: which brains.
        spacing_mm: working voxel size.
    """
    return [_load_head(data, name, spacing_mm) for name in names]


def _load_head(data: PreparedData, name: str, spacing_mm: float) -> Head:
    """One head; computed and stored if the cache has none, or a damaged one, or one of other data."""
    path = Path(data.folder) / _FOLDER / f"{data.digest[:12]}_{name}_{spacing_mm:g}mm.safetensors"
    try:
        tensors = load_file(path)
        return Head(*(tensors[f.name] for f in fields(Head)))
    except (OSError, KeyError, SafetensorError):
        head = make_head(data.brain(name), data.table, spacing_mm)
    try:
        with atomic_path(path) as temporary:
            save_file({f.name: getattr(head, f.name).contiguous() for f in fields(Head)}, temporary)
    except (OutputError, SafetensorError) as error:
        _LOG.warning("%s; going on without, heads are computed again the next time", error)
    return head
