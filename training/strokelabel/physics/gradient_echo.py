"""Spoiled gradient echo, without and with a magnetisation-transfer pulse in each repetition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from strokelabel.physics.acquisition import (
    Acquisition,
    Field,
    check_flip_angle,
    check_order,
    check_positive,
    decay,
    radians,
    recovery,
)
from strokelabel.physics.maps import QuantitativeMaps


@dataclass(frozen=True)
class GradientEcho(Acquisition):
    """Ernst's steady state with R2* decay (qSynth eq. 4).

    S = PD sin(a) (1 - E1) / (1 - cos(a) E1) exp(-R2* TE), E1 = exp(-R1 TR).

    Attributes:
        echo_time: in seconds.
        repetition_time: in seconds.
        flip_angle: in degrees.

    Raises:
        OptionError: a time is not positive, the angle is not in (0, 180], or the echo comes after the repetition.
    """

    echo_time: float = 0.02
    repetition_time: float = 0.6
    flip_angle: float = 20.0

    name: ClassVar[str] = "gre"
    title: ClassVar[str] = "gradient echo"
    equation: ClassVar[str] = "S = PD sin α (1 − E1) / (1 − cos α E1) e^(−R2* TE), E1 = e^(−R1 TR)"

    def __post_init__(self) -> None:
        check_positive(echo_time=self.echo_time, repetition_time=self.repetition_time)
        check_flip_angle(flip_angle=self.flip_angle)
        check_order(("the echo time", self.echo_time), ("the repetition time", self.repetition_time))

    def signal(self, maps: QuantitativeMaps, receive: Field = 1.0, transmit: Field = 1.0) -> Tensor:
        """See `Acquisition.signal`."""
        angle = radians(self.flip_angle, transmit)
        recovered = recovery(maps.r1, self.repetition_time)
        steady = recovered / (1 - torch.cos(angle) * (1 - recovered))
        return receive * maps.pd * torch.sin(angle) * steady * decay(maps.r2_star, self.echo_time)

    def bids(self) -> dict[str, Any]:
        """See `Acquisition.bids`."""
        return {
            "PulseSequenceType": "Spoiled gradient echo",
            "EchoTime": self.echo_time,
            "RepetitionTime": self.repetition_time,
            "FlipAngle": self.flip_angle,
            "MTState": False,
        }


@dataclass(frozen=True)
class SpoiledGradientEcho(Acquisition):
    """Ernst's steady state in which a pulse saturates the fraction d = MT/100 of Mz before each excitation.

    S = PD sin(a) (1 - d) (1 - E1) / (1 - (1 - d) cos(a) E1) exp(-R2* TE), E1 = exp(-R1 TR)
    (Helms et al. 2008, Magn Reson Med 60:1396, without their small-angle approximation).
    The saturation grows with the square of the transmit field.

    Attributes:
        echo_time: in seconds.
        repetition_time: in seconds.
        flip_angle: in degrees.
        mt_pulse: without the pulse, d = 0 and this is `GradientEcho`.

    Raises:
        OptionError: a time is not positive, the angle is not in (0, 180], or the echo comes after the repetition.
    """

    echo_time: float = 0.005
    repetition_time: float = 0.025
    flip_angle: float = 20.0
    mt_pulse: bool = True

    name: ClassVar[str] = "spgr"
    title: ClassVar[str] = "spoiled gradient echo"
    equation: ClassVar[str] = (
        "S = PD sin α (1 − δ)(1 − E1) / (1 − (1 − δ) cos α E1) e^(−R2* TE), "
        "E1 = e^(−R1 TR), δ = MT/100 with the pulse, else 0"
    )

    def __post_init__(self) -> None:
        check_positive(echo_time=self.echo_time, repetition_time=self.repetition_time)
        check_flip_angle(flip_angle=self.flip_angle)
        check_order(("the echo time", self.echo_time), ("the repetition time", self.repetition_time))

    def signal(self, maps: QuantitativeMaps, receive: Field = 1.0, transmit: Field = 1.0) -> Tensor:
        """See `Acquisition.signal`."""
        angle = radians(self.flip_angle, transmit)
        recovered = recovery(maps.r1, self.repetition_time)
        kept = self._kept(maps, transmit)
        steady = kept * recovered / (1 - kept * torch.cos(angle) * (1 - recovered))
        return receive * maps.pd * torch.sin(angle) * steady * decay(maps.r2_star, self.echo_time)

    def _kept(self, maps: QuantitativeMaps, transmit: Field) -> Tensor:
        """Return the fraction of Mz that the saturation pulse leaves."""
        if not self.mt_pulse:
            return torch.ones_like(maps.mt)
        return (1 - maps.mt / 100 * torch.as_tensor(transmit) ** 2).clamp(0, 1)

    def bids(self) -> dict[str, Any]:
        """See `Acquisition.bids`."""
        return {
            "PulseSequenceType": "Spoiled gradient echo",
            "EchoTime": self.echo_time,
            "RepetitionTime": self.repetition_time,
            "FlipAngle": self.flip_angle,
            "MTState": self.mt_pulse,
        }
