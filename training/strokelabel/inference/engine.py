"""From a normalised volume to logits: one pass where it fits, windows where not, and flips.

The network itself runs on one of two engines, ONNX Runtime (`onnx_network`) or torch (`torch_network`), which look the
same from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import combinations
from math import prod
from typing import Protocol, runtime_checkable

import numpy as np

from strokelabel.inference.windows import over_windows, window_shape

_LEAST_WINDOW = 4
"""A window of fewer than four times the network's multiple sees too little of the brain to be of use."""

Axes = tuple[int, ...]

OnPass = Callable[[int, int], None]
"""Called with (passes done, passes in all)."""


class DeviceMemoryError(MemoryError):
    """A pass does not fit into the memory of a device."""


@runtime_checkable
class EngineNetwork(Protocol):
    """A network on one of the engines."""

    @property
    def device(self) -> object:
        """Name of the device that it runs on, for messages."""

    def run(self, volume: np.ndarray) -> np.ndarray:
        """Return its output, float32 (1, channels, x, y, z), for a volume (1, channels, x, y, z).

        Raises:
            DeviceMemoryError: it does not fit.
        """

    def voxels_that_fit(self) -> int:
        """Return the number of voxels that one pass may have."""

    def free_memory(self) -> None:
        """Give back what an attempt that failed has left."""

    def on_cpu(self) -> AbstractContextManager[EngineNetwork]:
        """Run on the CPU within the block."""


class Engine:
    """Inference engine for volumes of any size.

    Args:
        network: maps (1, 1, x, y, z) to (1, channels, x, y, z), as a rule logits; see `EngineNetwork`.
        multiple: the sides that the network accepts are multiples of this.
        max_voxels: largest volume for one pass; larger ones go through windows. None for what fits.
        overlap: fraction by which windows overlap, in [0, 1).
        mirrored: for each channel, the channel that means the same on the other side of the body; None where no
            channel has a side.
        temperature: by which the network's output is divided; see `registry.ModelSpec`.

    Attributes:
        notes: what a user should know about how it went.
    """

    def __init__(
        self,
        network: EngineNetwork,
        multiple: int,
        max_voxels: int | None = None,
        overlap: float = 0.5,
        mirrored: Sequence[int] | None = None,
        temperature: float = 1.0,
    ) -> None:
        self._network = network
        self._multiple = multiple
        self._max_voxels = max_voxels or network.voxels_that_fit()
        self._overlap = overlap
        self._mirrored = mirrored
        self._temperature = temperature
        self.notes: list[str] = []

    def probabilities(
        self, volume: np.ndarray, flip_axes: Axes = (), on_pass: OnPass | None = None
    ) -> np.ndarray:
        """Return the softmax of the mean logits over all combinations of flips.

        The mean is over logits and divided by the true number of flips, so that probabilities are not
        sharpened (Chalcroft et al. 2025 flip likewise; their code divides eight terms by seven).

        Args:
            volume: (1, 1, x, y, z), normalised, sides multiples of the network's.
            flip_axes: spatial axes to flip: none for a single pass, (0, 1, 2) for eight.
            on_pass: told after every pass.

        Returns:
            (classes, x, y, z) float32.
        """
        return softmax(self.mean_output(volume, flip_axes, on_pass))

    def mean_output(
        self, volume: np.ndarray, flip_axes: Axes = (), on_pass: OnPass | None = None
    ) -> np.ndarray:
        """Return the network's own output, averaged over all combinations of flips.

        Args:
            volume: (1, 1, x, y, z), normalised, sides multiples of the network's.
            flip_axes: spatial axes to flip: none for a single pass, (0, 1, 2) for eight.
            on_pass: told after every pass.

        Returns:
            (channels, x, y, z) float32.
        """
        flips = list(_flips(flip_axes))
        total: np.ndarray | None = None
        for index, axes in enumerate(flips):
            output = np.flip(self.output(np.flip(volume, axes)), axes)
            if self._mirrored is not None and len(axes) % 2:  # two flips are a rotation
                output = output[:, list(self._mirrored)]
            total = output if total is None else np.add(total, output, out=total)
            if on_pass is not None:
                on_pass(index + 1, len(flips))
        assert total is not None
        if len(flips) > 1:
            total /= len(flips)
        return total[0]

    def output(self, volume: np.ndarray) -> np.ndarray:
        """Run one pass of the network, and divide its output by the temperature.

        In one piece, in windows where that does not fit, or on the CPU.

        Args:
            volume: (1, 1, x, y, z), normalised, sides multiples of the network's.

        Returns:
            (1, channels, x, y, z) float32.

        Raises:
            MemoryError: the smallest window does not fit on the device, nor on the CPU.
        """
        output = self._output(np.ascontiguousarray(volume, dtype=np.float32))
        if self._temperature != 1:
            output /= np.float32(self._temperature)
        return output

    def _output(self, volume: np.ndarray) -> np.ndarray:
        while True:
            window = window_shape(volume.shape[2:], self._multiple, self._max_voxels)
            try:
                return self._run(volume, window, self._network)
            except DeviceMemoryError:
                if prod(window) <= (_LEAST_WINDOW * self._multiple) ** 3:
                    break
            self._max_voxels = prod(window) // 2
            self._note(f"not enough memory on {self._network.device}: predicted in smaller windows")
            self._network.free_memory()
        self._network.free_memory()
        return self._on_cpu(volume)

    def _on_cpu(self, volume: np.ndarray) -> np.ndarray:
        """Run one pass on the CPU by a network that goes back to its device afterwards."""
        self._note(f"not enough memory on {self._network.device}: predicted on the CPU, which is slower")
        with self._network.on_cpu() as network:
            window = window_shape(volume.shape[2:], self._multiple, network.voxels_that_fit())
            try:
                return self._run(volume, window, network)
            except DeviceMemoryError as error:
                raise MemoryError("not enough memory for the smallest window") from error

    def _run(self, volume: np.ndarray, window: tuple[int, ...], network: EngineNetwork) -> np.ndarray:
        if window == volume.shape[2:]:
            return network.run(volume)
        return over_windows(volume, window, self._overlap, network.run)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the first axis, float32."""
    values = logits - logits.max(axis=0)
    np.exp(values, out=values)
    values /= values.sum(axis=0)
    return values


def _flips(axes: Axes) -> Iterator[Axes]:
    """Yield every combination of flipped axes of a (1, 1, x, y, z) array, starting with none."""
    for count in range(len(axes) + 1):
        yield from combinations([axis + 2 for axis in axes], count)
