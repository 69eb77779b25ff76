"""Exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Moving average of every parameter, kept beside the network on the same device.

    The decay starts low, min(decay, (1 + step) / (10 + step)), so that the average forgets the random
    initial weights quickly. A decay of 0 makes the average equal the weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = dict(network.named_parameters())
        self._average = {name: value.detach().clone() for name, value in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights as they are after `step` finished steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = list(self._parameters.values())
        torch._foreach_lerp_(list(self._average.values()), [w.detach() for w in weights], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the network has the averaged weights; afterwards its own again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Tensor]:
        """Averaged parameters by name."""
        return self._average

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over averaged parameters, names and shapes as in the network.

        Raises:
            RuntimeError: names or shapes differ.
        """
        if state.keys() != self._average.keys():
            raise RuntimeError(f"averaged weights differ: {sorted(state.keys() ^ self._average.keys())}")
        for name, value in self._average.items():
            value.copy_(state[name])

    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self._average[name] = self._average[name], parameter.data
