"""Protocol between the training loop and its task.

The loop knows steps, gradients, checkpoints and processes. What a batch holds beside its image, what the loss of an
output is and how good a validation is, only the objective knows.
"""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor


class TrainingBatch(Protocol):
    """Fields of a batch that the loop itself needs; all others are between the stream and the objective."""

    @property
    def image(self) -> Tensor:
        """(batch, channels, x, y, z) float32, the network's input."""
        ...

    def to(self, device: torch.device) -> Self:
        """Move the batch to a device."""
        ...


BatchType = TypeVar("BatchType", bound=TrainingBatch)
_Given = TypeVar("_Given", bound=TrainingBatch, covariant=True)
_Taken = TypeVar("_Taken", bound=TrainingBatch, contravariant=True)


class TrainingStream(Protocol[_Given]):
    """An endless stream of training batches; see `strokelabel.fit.data.stream.BatchStream`."""

    def batch(self, step: int, /) -> _Given:
        """Return the batch at this position, a pure function of it."""
        ...


class ScoringStream(Protocol[_Given]):
    """A finite list of validation batches, the same ones every time, each with the same number of items."""

    def __len__(self) -> int:
        """Return the number of batches."""
        ...

    def batch(self, index: int, /) -> _Given:
        """Return the batch at this position, a pure function of it."""
        ...


class Objective(Protocol[_Taken]):
    """A task: its training loss and its validation.

    A loss must be the mean of one loss per item. Then the gradient of an optimiser step is the same however its
    items are cut into batches, accumulated batches and processes.
    """

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of what `summarize` returns, in the order of the record's columns (`validation_` and the name)."""
        ...

    @property
    def metric(self) -> str:
        """Name among `score_names` that decides which checkpoint is best; higher is better."""
        ...

    @property
    def metric_label(self) -> str:
        """Metric as shown to people, such as "lesion Dice"."""
        ...

    def to(self, device: torch.device) -> Self:
        """Return the objective with its constants on a device."""
        ...

    def loss(self, output: Tensor, batch: _Taken, step: int) -> Tensor:
        """Return the training loss.

        Args:
            output: of the network for `batch.image`, of any floating type.
            batch: on the output's device.
            step: optimiser steps done before; losses that change during training go by it.

        Returns:
            Scalar float32: the mean over the batch's items.
        """
        ...

    def loss_phase(self, step: int) -> int:
        """Return the number of the phase of training that a step is in; within one the loss does not change with the
        step.
        """
        ...

    def item_scores(self, output: Tensor, batch: _Taken) -> dict[str, Tensor]:
        """Return the scores of each item of a batch in validation.

        Args:
            output: of the network for `batch.image`, of any floating type.
            batch: on the output's device.

        Returns:
            By name, (batch,) float32; always the same names.
        """
        ...

    def summarize(self, scores: dict[str, Tensor]) -> dict[str, float]:
        """Return the scores of a validation.

        Args:
            scores: what `item_scores` gave, each concatenated to (items of the whole stream,).

        Returns:
            By the names in `score_names`.
        """
        ...
