"""From a training folder to a weights file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from strokelabel.errors import CheckpointError
from strokelabel.fit.loop.checkpoint import Checkpoint, load_checkpoint, load_newest_checkpoint
from strokelabel.networks.weights import load_weights, save_weights
from strokelabel.registry import ModelSpec
from strokelabel.types import PathLike


def export_weights(
    folder_or_checkpoint: PathLike,
    spec: ModelSpec,
    path: PathLike,
    *,
    which: Literal["best", "newest"] = "best",
    dtype: Literal["float16", "float32"] = "float16",
    average_with: Sequence[PathLike] = (),
) -> ModelSpec:
    """Write the averaged weights of a run as a model.

    Args:
        folder_or_checkpoint: a training folder, or one checkpoint file.
        spec: describes the model; its path and training step are replaced.
        path: the safetensors file to write.
        which: of a folder, the weights with the best validation (the newest if there was no validation), or
            the newest ones.
        dtype: how weights are stored.
        average_with: further checkpoint or weights files of the same network; the model gets the mean of all (a
            model soup, Wortsman et al. 2022), which serves images unlike the training's better than one of them may.

    Returns:
        The description as written.

    Raises:
        CheckpointError: nothing to export there, or it is damaged.
        WeightsError: the checkpoint is of another network than the description, or a weights file is damaged.
    """
    checkpoint = _find_checkpoint(Path(folder_or_checkpoint), which)
    others = [_weights_of(Path(other)) for other in average_with]
    described = replace(spec, training_step=checkpoint.step)
    return save_weights(path, _mean([checkpoint.weights, *others]), described, dtype)


def _weights_of(path: Path) -> Mapping[str, Tensor]:
    """Return the averaged weights in a checkpoint, or those in a safetensors file."""
    if path.suffix == ".safetensors":
        return load_weights(path)[0].state_dict()
    return load_checkpoint(path).weights


def _mean(weights: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each tensor over several checkpoints.

    Raises:
        CheckpointError: they are of different networks.
    """
    shapes = [{name: value.shape for name, value in one.items()} for one in weights]
    if any(one != shapes[0] for one in shapes):
        raise CheckpointError("Expected checkpoints of one network to average, got several networks")
    return {
        name: (sum(one[name].double() for one in weights) / len(weights)).to(first.dtype)  # type: ignore[union-attr]
        for name, first in weights[0].items()
    }


def _find_checkpoint(source: Path, which: Literal["best", "newest"]) -> Checkpoint:
    """Read the checkpoint meant."""
    if not source.is_dir():
        return load_checkpoint(source)
    if which == "best" and (source / "best.pt").exists():
        return load_checkpoint(source / "best.pt")
    newest = load_newest_checkpoint(source)
    if newest is None:
        raise CheckpointError(f"{source}: expected a training folder, it has no checkpoint yet")
    return newest
