"""Heads at a working resolution, kept beside the prepared data so that training starts at once the next time."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import fields
from multiprocessing import current_process, get_context
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from strokelabel.errors import OutputError
from strokelabel.io.atomic import atomic_path
from strokelabel.synthesis.anatomy.head import Head, make_head
from strokelabel.synthesis.prepared.dataset import PreparedData

_FOLDER = "heads"
"""Name another one when `make_head` changes: a cache knows its data by their digest, but not the code."""

_FINE_MM = 1.5
_WORTH_PROCESSES = 4
"""Starting processes takes seconds; few heads, or coarse ones, are made sooner without."""

_LOG = logging.getLogger(__name__)


def load_heads(data: PreparedData, names: list[str], spacing_mm: float) -> list[Head]:
    """Load the named heads at this voxel size, from the cache if possible.

    Args:
        data: a prepared folder.
        names: which brains.
        spacing_mm: working voxel size.
    """
    missing = [name for name in names if not _path(data, name, spacing_mm).exists()]
    alone = current_process().daemon  # and may start no others
    if len(missing) >= _WORTH_PROCESSES and spacing_mm <= _FINE_MM and not alone:
        _make_in_processes(data, missing, spacing_mm)
    return [_load_head(data, name, spacing_mm) for name in names]


def _path(data: PreparedData, name: str, spacing_mm: float) -> Path:
    return Path(data.folder) / _FOLDER / f"{data.digest[:12]}_{name}_{spacing_mm:g}mm.safetensors"


def _make_in_processes(data: PreparedData, names: list[str], spacing_mm: float) -> None:
    """Fill the cache with several processes: a head at 1 mm takes ten seconds of one core."""
    workers = min(len(names), os.cpu_count() or 1)
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        made = [pool.submit(_make_head, data.folder, name, spacing_mm) for name in names]
        for count, future in enumerate(as_completed(made), start=1):
            future.result()
            _LOG.info("head %d of %d at %g mm is ready", count, len(names), spacing_mm)


def _make_head(folder: Path, name: str, spacing_mm: float) -> None:
    """Compute one head into the cache, in a process of its own; arrays are not sent between processes."""
    _load_head(PreparedData.load(folder), name, spacing_mm)


def _load_head(data: PreparedData, name: str, spacing_mm: float) -> Head:
    """Return one head; computed and stored if the cache has none, or a damaged one, or one of other data."""
    path = _path(data, name, spacing_mm)
    try:
        tensors = load_file(path)
        return Head(*(tensors[f.name] for f in fields(Head)))
    except (OSError, KeyError, SafetensorError):
        head = make_head(data.brain(name), data.table, spacing_mm)
    try:
        with atomic_path(path) as temporary:
            save_file({f.name: getattr(head, f.name).contiguous() for f in fields(Head)}, temporary)
    except (OutputError, SafetensorError) as error:
        _LOG.warning("%s; continuing without it, heads are computed again the next time", error)
    return head
