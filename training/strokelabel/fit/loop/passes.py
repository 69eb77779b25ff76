"""Passes over batches into gradient buffers that stay where they are.

A training step launches hundreds of kernels, which takes the interpreter longer than a large GPU needs to run them. A
CUDA graph launches them all at once. It reads its batch from tensors of its own, and adds to gradients at addresses
that must never change. On a CPU the same code runs, without the recording.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from strokelabel.fit.config import Precision
from strokelabel.fit.loop.objective import Objective
from strokelabel.fit.loop.prefetch import batch_tensors

_WARM_UP = 3
"""Passes before a recording: libraries choose their algorithms and take their memory."""

_LOG = logging.getLogger(__name__)

Kind: TypeAlias = tuple[Any, ...]
"""Properties that distinguish batches for which the interpreter would launch different kernels."""


@dataclass(frozen=True)
class _Recording:
    """A pass over one kind of batch: its own batch, its loss, and how to run it."""

    batch: Any
    loss: Tensor
    replay: Callable[[], object]


class Passes:
    """Forward pass, loss and backward pass, recorded on a GPU.

    Gradients are added to `parameter.grad`, which is there from the start; code that clears them must fill them with
    zeros.

    Args:
        network: on its device, in training mode; neither moved nor replaced afterwards.
        objective: on the same device.
        precision: arithmetic of the network; not "16-mixed", whose scaler changes from step to step.
        divisor: of every loss: passes per optimiser step.
    """

    def __init__(
        self, network: nn.Module, objective: Objective[Any], precision: Precision, divisor: int
    ) -> None:
        self._network, self._objective = network, objective
        self._half = precision == "bf16-mixed"
        self._divisor = divisor
        self._parameters = [value for value in network.parameters() if value.requires_grad]
        self._device = self._parameters[0].device
        self._recordings: dict[Kind, _Recording] = {}
        self._pool: Any = None
        self._recorded = self._device.type == "cuda"
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter)

    def __call__(self, batch: Any, step: int) -> Tensor:  # noqa: ANN401 - whatever the objective takes
        """Add the gradients of a batch.

        Args:
            batch: on the device.
            step: optimiser steps done before.

        Returns:
            Its loss, scalar, divided. On a GPU the next pass over such a batch overwrites it.
        """
        if not self._recorded:
            return self._run(batch, step)
        kind = kind_of(batch, self._objective.loss_phase(step))
        if kind not in self._recordings:
            try:
                self._recordings[kind] = self._record(batch, step)
            except RuntimeError as error:
                _LOG.warning("CUDA graphs cannot be used, training continues without them: %s", error)
                self._recorded = False
                return self._run(batch, step)
        recording = self._recordings[kind]
        for name, values in batch_tensors(recording.batch).items():
            if values.is_cuda:
                values.copy_(getattr(batch, name), non_blocking=True)
        recording.replay()
        return recording.loss

    def _run(self, batch: Any, step: int) -> Tensor:  # noqa: ANN401
        """Run one pass, kernel by kernel."""
        # A cache of converted weights would live in the memory of the first graph, and be stale in the next step.
        half = (
            torch.autocast(self._device.type, torch.bfloat16, cache_enabled=False)
            if self._half
            else nullcontext()
        )
        with half:
            output = self._network(batch.image)
        loss = self._objective.loss(output, batch, step) / self._divisor
        loss.backward()
        return loss.detach()

    def _record(self, batch: Any, step: int) -> _Recording:  # noqa: ANN401
        """Record a pass over batches like this one; gradients are afterwards what they were before.

        Raises:
            RuntimeError: something in the pass cannot be recorded.
        """
        own = replace(
            batch, **{name: _own(value) for name, value in batch_tensors(batch).items() if value.is_cuda}
        )
        with self._gradients_kept(), _fastest_algorithms(first=not self._recordings):
            current, beside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
            beside.wait_stream(current)
            with torch.cuda.stream(beside):
                for _ in range(_WARM_UP):
                    self._run(own, step)
            current.wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            # Another thread makes the next batches on this GPU meanwhile, and may.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                loss = self._run(own, step)
        self._pool = graph.pool()
        return _Recording(own, loss, graph.replay)

    @contextmanager
    def _gradients_kept(self) -> Iterator[None]:
        """Let gradients be added to within the block, and restore them afterwards in the same memory."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        before = [gradient.clone() for gradient in gradients]
        try:
            yield
        finally:
            torch._foreach_copy_(gradients, before)


def kind_of(batch: Any, phase: int) -> Kind:  # noqa: ANN401
    """Return the kind of a batch: shapes and types of its volumes, and values of all other fields.

    Args:
        batch: a dataclass of volumes on the device, flags of items on the host, and plain values.
        phase: of the objective's loss, see `Objective.loss_phase`.
    """
    parts: list[Any] = [phase]
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            known = (tuple(value.shape), value.dtype, value.stride())
            parts.append(known if value.ndim > 1 else (*known, tuple(value.tolist())))
        else:
            parts.append(value)
    return tuple(parts)


def _own(values: Tensor) -> Tensor:
    """Return a copy in memory of its own."""
    return values.clone(memory_format=torch.preserve_format)


@contextmanager
def _fastest_algorithms(*, first: bool) -> Iterator[None]:
    """Let cuDNN measure its algorithms within the block for the first kind of batch, which is the most frequent one.

    Measuring takes seconds for each shape.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = first
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
