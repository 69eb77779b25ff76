"""Networks on torch: for GPUs, and for all that trains or adapts them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from strokelabel.inference.device import voxels_that_fit
from strokelabel.inference.engine import Axes, DeviceMemoryError, Engine, OnPass

ENGINE: Final = "torch"


class TorchNetwork:
    """A module of torch as an `engine.EngineNetwork`.

    Args:
        network: in evaluation mode, on `device`.
        device: where it is.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network = network
        self.device = device

    @torch.inference_mode()
    def run(self, volume: np.ndarray) -> np.ndarray:
        """Run one pass; see `EngineNetwork.run`."""
        try:
            output: Tensor = self._network(torch.from_numpy(volume).to(self.device))
            found: np.ndarray = output.float().cpu().numpy()
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceMemoryError(str(error)) from error
        return found

    def voxels_that_fit(self) -> int:
        """Return the number of voxels that one pass may have on the device."""
        return voxels_that_fit(self.device)

    def free_memory(self) -> None:
        """Give back what an attempt that failed has left."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @contextmanager
    def on_cpu(self) -> Iterator[TorchNetwork]:
        """Move the network to the CPU within the block."""
        cpu = torch.device("cpu")
        try:
            self._network.to(cpu)
            yield TorchNetwork(self._network, cpu)
        finally:
            self._network.to(self.device)


class TensorEngine:
    """An engine that takes and returns tensors, for what computes with them, on the CPU.

    Args:
        engine: which runs the network.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def probabilities(self, volume: Tensor, flip_axes: Axes = (), on_pass: OnPass | None = None) -> Tensor:
        """Return probabilities (classes, x, y, z); see `Engine.probabilities`."""
        return torch.from_numpy(self._engine.probabilities(_array(volume), flip_axes, on_pass))

    def output(self, volume: Tensor) -> Tensor:
        """Return one pass of the network, (1, channels, x, y, z); see `Engine.output`."""
        return torch.from_numpy(self._engine.output(_array(volume)))


def _array(volume: Tensor) -> np.ndarray:
    array: np.ndarray = volume.detach().cpu().numpy()
    return array
