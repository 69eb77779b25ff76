"""Protocol between the training loop and its task, and the validation of a network by the task's scores.

The loop knows steps, gradients, checkpoints and processes. What a batch holds beside its image, what the loss of an
output is and how good a validation is, only the objective knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from strokelabel.errors import TrainingError


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
        """Name among `score_names` that decides which checkpoint is best: "loss" where it is lower, others higher."""
        ...

    @property
    def metric_label(self) -> str:
        """Metric as shown to people, such as "lesion Dice"."""
        ...

    def to(self, device: torch.device) -> Self:
        """Return the objective with its constants on a device."""
        ...

    def loss(self, output: Any, batch: _Taken, step: int) -> Tensor:  # noqa: ANN401 - the network's
        """Return the training loss.

        Args:
            output: of the network for `batch.image`: a tensor of any floating type, or several.
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

    def item_scores(self, output: Any, batch: _Taken) -> dict[str, Tensor]:  # noqa: ANN401 - the network's
        """Return the scores of each item of a batch in validation.

        Args:
            output: of the network for `batch.image`: a tensor of any floating type, or several.
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


@torch.no_grad()
def validate(
    network: nn.Module, stream: ScoringStream[Any], objective: Objective[Any], fabric: Fabric
) -> dict[str, float]:
    """Run a network over a validation stream, the batches shared out among the processes.

    Args:
        network: on Fabric's device; left in training mode.
        stream: at least one batch; every batch has the same number of items.
        objective: says what is measured.
        fabric: device and processes.

    Returns:
        The objective's summary over all items, the same in every process.

    Raises:
        TrainingError: the stream is empty.
    """
    if not len(stream):
        raise TrainingError(
            "Expected validation batches, got none; give validation cases, or validate_every: 0"
        )
    network.eval()
    found: dict[int, dict[str, Tensor]] = {}
    # With fewer batches than processes, the processes left over score a batch again, for its names and sizes.
    for index in range(fabric.global_rank, max(len(stream), fabric.world_size), fabric.world_size):
        batch = stream.batch(index % len(stream)).to(fabric.device)
        with fabric.autocast():
            output = network(batch.image)
        found[index] = objective.item_scores(output, batch)
    network.train()
    return objective.summarize(_gather(found, len(stream), fabric))


def _gather(found: dict[int, dict[str, Tensor]], batches: int, fabric: Fabric) -> dict[str, Tensor]:
    """Return the scores of all items in the stream's order, from the batches that each process scored."""
    gathered = {}
    for name, example in next(iter(found.values())).items():
        table = torch.zeros(batches, *example.shape, device=fabric.device)
        for index, scores in found.items():
            if index < batches:
                table[index] = scores[name]
        if fabric.world_size > 1:
            fabric.all_reduce(table, reduce_op="sum")
        gathered[name] = table.flatten()
    return gathered


@dataclass
class BestValidation:
    """Best metric so far.

    Attributes:
        lower_is_better: true for a loss; higher is better for any other metric.
        metric: None before the first validation that gave a number.
        step: the step of it.
        validations_since: validations after the best one.
    """

    metric: float | None = None
    step: int | None = None
    validations_since: int = 0
    lower_is_better: bool = False

    @classmethod
    def of(cls, objective: Objective[Any]) -> Self:
        """Return that of a run without validations yet."""
        return cls(lower_is_better=objective.metric == "loss")

    def update(self, metric: float, step: int) -> bool:
        """Take note of a validation; true if it is the best so far. An undefined metric (NaN) never is."""
        if self.metric is None:
            better = metric == metric
        else:
            better = metric < self.metric if self.lower_is_better else metric > self.metric
        if better:
            self.metric, self.step, self.validations_since = metric, step, 0
        else:
            self.validations_since += 1
        return better

    def is_exhausted(self, patience: int) -> bool:
        """Return whether so many validations in a row were no improvement; never with a patience of 0."""
        return 0 < patience <= self.validations_since
