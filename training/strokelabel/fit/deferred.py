"""Rows of the record whose numbers are still being computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import torch
from torch import Tensor

_IN_FLIGHT = 2
"""Steps that a GPU may be behind the interpreter: enough to keep it busy, and few enough to bound the memory."""


class DeferredRows:
    """Hands rows on as plain numbers, in order, once a device has computed them.

    Reading a number from a GPU at once would leave it idle while the next step is prepared. Numbers are copied in the
    background instead, and waited for two steps later. On the CPU nothing is deferred.

    Args:
        device: where numbers that are tensors are computed.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._rows: deque[_Row] = deque()

    def add(self, row: Mapping[str, float | Tensor]) -> list[dict[str, float]]:
        """Add a row; returns the rows that are due, oldest first."""
        self._rows.append(_Row(row, self._cuda))
        return self._take(_IN_FLIGHT if self._cuda else 0)

    def flush(self) -> list[dict[str, float]]:
        """Wait for all rows, and return them."""
        return self._take(0)

    def _take(self, left: int) -> list[dict[str, float]]:
        return [self._rows.popleft().read() for _ in range(len(self._rows) - left)]


class _Row:
    """One row, its tensors on their way to the host."""

    def __init__(self, row: Mapping[str, float | Tensor], cuda: bool) -> None:
        self._names = list(row)
        self._plain = {name: value for name, value in row.items() if not isinstance(value, Tensor)}
        computed = {name: value for name, value in row.items() if isinstance(value, Tensor)}
        self._computed = list(computed)
        values = torch.stack([value.detach() for value in computed.values()]) if computed else torch.empty(0)
        self._arrived: torch.cuda.Event | None = None
        if cuda:
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values = host.copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        else:
            self._values = values

    def read(self) -> dict[str, float]:
        """The row as numbers, its names in their order."""
        if self._arrived is not None:
            self._arrived.synchronize()
        numbers = self._plain | dict(zip(self._computed, self._values.tolist(), strict=True))
        return {name: numbers[name] for name in self._names}
