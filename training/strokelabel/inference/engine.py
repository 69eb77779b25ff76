"""From a normalised volume to logits: one pass where it fits, windows where not, and flips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from math import prod
from typing import cast

import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from strokelabel.inference.device import voxels_that_fit

_WINDOW_SIGMA = 0.125
_SHRINK = 0.75
_LEAST_WINDOW = 4
"""A window of fewer than four times the network's multiple sees too little of the brain to be of use."""

Axes = tuple[int, ...]

OnPass = Callable[[int, int], None]
"""Called with (passes done, passes in all)."""


class Engine:
    """Inference engine for volumes of any size.

    Args:
        network: maps (1, 1, x, y, z) to (1, channels, x, y, z), as a rule logits; in evaluation mode, on `device`.
        device: where the network is.
        multiple: the sides that the network accepts are multiples of this.
        max_voxels: largest volume for one pass; larger ones go through windows.
        overlap: fraction by which windows overlap, in [0, 1).
        mirrored: for each channel, the channel that means the same on the other side of the body; None where no
            channel has a side.
        temperature: by which the network's output is divided; see `registry.ModelSpec`.

    Attributes:
        notes: what a user should know about how it went.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        multiple: int,
        max_voxels: int,
        overlap: float = 0.5,
        mirrored: Sequence[int] | None = None,
        temperature: float = 1.0,
    ) -> None:
        self._network = network
        self._device = device
        self._multiple = multiple
        self._max_voxels = max_voxels
        self._overlap = overlap
        self._mirrored = mirrored
        self._temperature = temperature
        self.notes: list[str] = []

    @torch.inference_mode()
    def probabilities(self, volume: Tensor, flip_axes: Axes = (), on_pass: OnPass | None = None) -> Tensor:
        """Return the softmax of the mean logits over all combinations of flips.

        The mean is over logits and divided by the true number of flips, so that probabilities are not
        sharpened (Chalcroft et al. 2025 flip likewise; their code divides eight terms by seven).

        Args:
            volume: (1, 1, x, y, z), normalised, sides multiples of the network's.
            flip_axes: spatial axes to flip: none for a single pass, (0, 1, 2) for eight.
            on_pass: told after every pass.

        Returns:
            (classes, x, y, z) float32 on the CPU.
        """
        return torch.softmax(self.mean_output(volume, flip_axes, on_pass), dim=0)

    @torch.inference_mode()
    def mean_output(self, volume: Tensor, flip_axes: Axes = (), on_pass: OnPass | None = None) -> Tensor:
        """Return the network's own output, averaged over all combinations of flips.

        Args:
            volume: (1, 1, x, y, z), normalised, sides multiples of the network's.
            flip_axes: spatial axes to flip: none for a single pass, (0, 1, 2) for eight.
            on_pass: told after every pass.

        Returns:
            (channels, x, y, z) float32 on the CPU.
        """
        flips = list(_flips(flip_axes))
        total: Tensor | None = None
        for index, axes in enumerate(flips):
            output = torch.flip(self.output(torch.flip(volume, axes)), axes)
            if self._mirrored is not None and len(axes) % 2:  # two flips are a rotation
                output = output[:, list(self._mirrored)]
            total = output if total is None else total.add_(output)
            if on_pass is not None:
                on_pass(index + 1, len(flips))
        assert total is not None
        return total.div_(len(flips))[0]

    @torch.inference_mode()
    def output(self, volume: Tensor) -> Tensor:
        """Run one pass of the network, and divide its output by the temperature.

        In one piece, in windows where that does not fit, or on the CPU.

        Args:
            volume: (1, 1, x, y, z), normalised, sides multiples of the network's.

        Returns:
            (1, channels, x, y, z) float32 on the CPU.

        Raises:
            MemoryError: the smallest window does not fit on the device, nor on the CPU.
        """
        output = self._output(volume)
        return output if self._temperature == 1 else output / self._temperature

    def _output(self, volume: Tensor) -> Tensor:
        while True:
            window = window_shape(_sides(volume), self._multiple, self._max_voxels)
            try:
                return self._run(volume, window, self._device)
            except torch.cuda.OutOfMemoryError:
                if prod(window) <= (_LEAST_WINDOW * self._multiple) ** 3:
                    break
            self._max_voxels = prod(window) // 2
            self._note(f"not enough memory on {self._device}: predicted in smaller windows")
            _free_memory(self._device)
        _free_memory(self._device)
        return self._on_cpu(volume)

    def _on_cpu(self, volume: Tensor) -> Tensor:
        """Run one pass on the CPU by a network that goes back to its device afterwards."""
        self._note(f"not enough memory on {self._device}: predicted on the CPU, which is slower")
        cpu = torch.device("cpu")
        window = window_shape(_sides(volume), self._multiple, voxels_that_fit(cpu))
        try:
            self._network.to(cpu)
            return self._run(volume, window, cpu)
        except torch.cuda.OutOfMemoryError as error:
            raise MemoryError("not enough memory for the smallest window") from error
        finally:
            self._network.to(self._device)

    def _run(self, volume: Tensor, window: tuple[int, ...], device: torch.device) -> Tensor:
        if window == _sides(volume):
            return self._network(volume.to(device)).float().cpu()
        inferer = SlidingWindowInferer(
            window,
            sw_batch_size=1,
            overlap=self._overlap,
            mode="gaussian",
            sigma_scale=_WINDOW_SIGMA,
            sw_device=device,
            device="cpu",  # the sum of all windows may be what does not fit
        )
        return cast(Tensor, inferer(volume, self._network)).float()

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _sides(volume: Tensor) -> tuple[int, ...]:
    return tuple(volume.shape[2:])


def _free_memory(device: torch.device) -> None:
    """Give back what an attempt that failed has left."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def window_shape(shape: tuple[int, ...], multiple: int, max_voxels: int) -> tuple[int, ...]:
    """Return the largest window of at most `max_voxels`: the longest side shrinks until the window fits.

    Args:
        shape: sides of the volume, multiples of `multiple`.
        multiple: sides stay multiples of this, and at least this.
        max_voxels: most voxels of a window.
    """
    sides = list(shape)
    while prod(sides) > max_voxels and max(sides) > multiple:
        longest = sides.index(max(sides))
        sides[longest] = max(multiple, int(sides[longest] * _SHRINK) // multiple * multiple)
    return tuple(sides)


def _flips(axes: Axes) -> Iterator[Axes]:
    """Yield every combination of flipped axes of a (1, 1, x, y, z) tensor, starting with none."""
    for count in range(len(axes) + 1):
        yield from combinations([axis + 2 for axis in axes], count)
