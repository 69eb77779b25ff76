"""Parts all sequences share: parameters in seconds and degrees, limits of real scanners, a magnitude signal, noise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from strokelabel.errors import OptionError
from strokelabel.physics.maps import QuantitativeMaps

Field: TypeAlias = Tensor | float
"""A receive or transmit field relative to its nominal value of 1; broadcasts against the maps."""


@dataclass(frozen=True)
class Acquisition(ABC):
    """Parameters of one acquisition; impossible ones raise OptionError.

    All times are in seconds, all angles in degrees.
    """

    name: ClassVar[str]
    """Short name, as on the command line."""
    title: ClassVar[str]
    """Name in words."""
    equation: ClassVar[str]
    """Signal at nominal fields, as text."""
    receive_cancels: ClassVar[bool] = False
    """True if the receive field leaves no trace in the image."""

    @abstractmethod
    def signal(self, maps: QuantitativeMaps, receive: Field = 1.0, transmit: Field = 1.0) -> Tensor:
        """Return the noise-free image before the magnitude is taken: negative where magnetisation is still inverted.

        Signals add up where tissues share a voxel; magnitudes do not.

        Args:
            maps: tissue properties, of any shape and device.
            receive: receive sensitivity (B1-) relative to 1; scales the signal.
            transmit: transmit field (B1+) relative to 1; scales flip angles.

        Returns:
            Signal of the maps' shape, in the units of PD. Differentiable in maps and fields.
        """

    def magnitude(self, maps: QuantitativeMaps, receive: Field = 1.0, transmit: Field = 1.0) -> Tensor:
        """Return the noise-free magnitude image; arguments as for `signal`."""
        return self.signal(maps, receive, transmit).abs()

    @abstractmethod
    def bids(self) -> dict[str, Any]:
        """Return the parameters under their BIDS names (seconds and degrees)."""

    def parameters(self) -> dict[str, Any]:
        """Return the parameters as JSON-ready values by their own names."""
        return asdict(self)


def radians(degrees: float, transmit: Field) -> Tensor:
    """Return the actual flip angle of the spins."""
    return torch.as_tensor(transmit) * math.radians(degrees)


def decay(rate: Tensor, seconds: float) -> Tensor:
    """Return the fraction left by relaxation after this time: exp(-rate * time)."""
    return torch.exp(-seconds * rate)


def recovery(rate: Tensor, seconds: float) -> Tensor:
    """Return the fraction recovered by relaxation in this time: 1 - exp(-rate * time), exact for short times too."""
    return -torch.expm1(-seconds * rate)


def check_positive(**values: float) -> None:
    """Refuse times, counts or angles that are not finite numbers above zero.

    Raises:
        OptionError: naming the parameter.
    """
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise OptionError(f"{_words(name)}: expected a number above 0, got {value:g}; change it")


def check_fraction(**values: float) -> None:
    """Refuse what is not in (0, 1].

    Raises:
        OptionError: naming the parameter.
    """
    for name, value in values.items():
        if not 0 < value <= 1:
            raise OptionError(f"{_words(name)}: expected a number above 0 and at most 1, got {value:g}")


def check_flip_angle(**degrees: float) -> None:
    """Refuse flip angles outside (0, 180] degrees.

    Raises:
        OptionError: naming the parameter.
    """
    for name, value in degrees.items():
        if not 0 < value <= 180:
            raise OptionError(
                f"{_words(name)}: expected an angle above 0 and at most 180 degrees, got {value:g}; change it"
            )


def check_order(*events: tuple[str, float]) -> None:
    """Refuse events that do not follow each other.

    Args:
        events: (name, time in seconds), each of which must come before the next.

    Raises:
        OptionError: naming the first two that do not.
    """
    for (first, early), (second, late) in pairwise(events):
        if not early < late:
            raise OptionError(
                f"expected {first} ({early:.4g} s) to be before {second} ({late:.4g} s); "
                "times are in seconds: change one of them"
            )


def _words(name: str) -> str:
    return name.replace("_", " ")


def rician_noise(
    signal: Tensor, deviation: Tensor | float, generator: torch.Generator | None = None
) -> Tensor:
    """Return the magnitude of a signal with complex Gaussian noise (qSynth eq. 7; Gudbjartsson and Patz 1995).

    sqrt((S + n1)^2 + n2^2) with independent n1, n2 from N(0, deviation). Where there is no signal, it is Rayleigh
    distributed with mean deviation * sqrt(pi / 2).

    Args:
        signal: noise-free magnitude image.
        deviation: of the real and of the imaginary part, in the units of the signal; broadcasts.
        generator: source of randomness on the signal's device.

    Raises:
        OptionError: the deviation is negative.
    """
    if bool((torch.as_tensor(deviation) < 0).any()):
        raise OptionError("expected a noise deviation of at least 0, got a negative one; pass its magnitude")
    shape = (2, *signal.shape)
    noise = torch.randn(shape, generator=generator, device=signal.device, dtype=signal.dtype) * deviation
    return torch.sqrt((signal + noise[0]) ** 2 + noise[1] ** 2)
