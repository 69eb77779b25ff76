"""Checkpoints: everything that training needs to go on exactly where it stopped.

A checkpoint is a `torch.save` archive of tensors and plain Python values, loadable with `weights_only=True`.
It is written beside its place and renamed, so a kill at any moment leaves the ones before untouched; the
archive's own check sums (zip CRC-32 of every record) tell a damaged file when it is read. No generator state
is stored: data and dropout are functions of the step.
"""

from __future__ import annotations

import logging
import pickle
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strokelabel.errors import CheckpointError
from strokelabel.io.atomic import atomic_path

FORMAT = 1
"""Version of the layout; a reader refuses others."""

_LOG = logging.getLogger(__name__)


@dataclass
class Checkpoint:
    """State of a training run after a number of optimiser steps.

    Attributes:
        step: optimiser steps done.
        network: state dict of the network.
        average: moving average of its parameters, by name; empty when there is none.
        optimizer: state dict of the optimiser.
        scaler: state of the gradient scaler; empty but for float16.
        best_metric: best validation metric so far, None before the first validation.
        best_step: the step of it.
        validations_since_best: validations after that step.
        seconds: time spent training so far, all runs together.
        config: the training settings, for the record.
    """

    step: int
    network: dict[str, Tensor]
    average: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    best_metric: float | None = None
    best_step: int | None = None
    validations_since_best: int = 0
    seconds: float = 0.0
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def weights(self) -> dict[str, Tensor]:
        """State dict to predict with: averaged parameters where there are any."""
        return {**self.network, **self.average}


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the path of a step's checkpoint in a training folder."""
    return folder / "checkpoints" / f"step-{step:08d}.pt"


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the numbered checkpoints of a training folder, oldest first, damaged ones included."""
    return sorted((folder / "checkpoints").glob("step-*.pt"))


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    content = {item.name: getattr(checkpoint, item.name) for item in fields(checkpoint)}
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, **content}, temporary)


def load_checkpoint(path: Path, device: str = "cpu") -> Checkpoint:
    """Read a checkpoint and verify it.

    Raises:
        CheckpointError: missing, damaged, or of another format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path}: expected an undamaged checkpoint, record {damaged} is corrupt")
        content = torch.load(path, map_location=device, weights_only=True)
        version = content.pop("format", None)
        if version != FORMAT:
            raise CheckpointError(
                f"{path}: expected checkpoint format {FORMAT}, found {version}; use the release that wrote it"
            )
        return Checkpoint(**content)
    except (OSError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: expected a training checkpoint, cannot read it ({error})") from error
    except (TypeError, AttributeError, NotImplementedError) as error:
        raise CheckpointError(
            f"{path}: this is not a training checkpoint of StrokeLabel ({error})"
        ) from error


def load_newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint that can be read, or None if the folder has none at all.

    Raises:
        CheckpointError: there are checkpoints, and every one is damaged.
    """
    paths = list_checkpoints(folder)
    problems = []
    for path in reversed(paths):
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            _LOG.warning("%s; falling back to the one before", error)
            problems.append(str(error))
    if problems:
        raise CheckpointError(
            f"{folder}: no checkpoint can be read, remove them to start again: " + "; ".join(problems)
        )
    return None


def prune_checkpoints(folder: Path, keep_last: int) -> None:
    """Delete all but the newest checkpoints, and what an interrupted write left behind."""
    for path in list_checkpoints(folder)[:-keep_last]:
        path.unlink(missing_ok=True)
    for path in (folder / "checkpoints").glob(".step-*.pt"):
        path.unlink(missing_ok=True)


def drop_checkpoints_after(folder: Path, step: int) -> None:
    """Delete checkpoints of later steps: training fell back past them, so they are damaged."""
    for path in list_checkpoints(folder):
        if path > checkpoint_path(folder, step):
            path.unlink(missing_ok=True)
