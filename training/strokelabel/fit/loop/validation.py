"""Validation of a network on a stream, and the best result so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from strokelabel.errors import TrainingError
from strokelabel.fit.loop.objective import Objective, ScoringStream


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
    """Best metric so far; higher is better.

    Attributes:
        metric: None before the first validation that gave a number.
        step: the step of it.
        validations_since: validations after the best one.
    """

    metric: float | None = None
    step: int | None = None
    validations_since: int = 0

    def update(self, metric: float, step: int) -> bool:
        """Take note of a validation; true if it is the best so far. An undefined metric (NaN) never is."""
        better = metric == metric if self.metric is None else metric > self.metric
        if better:
            self.metric, self.step, self.validations_since = metric, step, 0
        else:
            self.validations_since += 1
        return better

    def is_exhausted(self, patience: int) -> bool:
        """Return whether so many validations in a row were no improvement; never with a patience of 0."""
        return 0 < patience <= self.validations_since
