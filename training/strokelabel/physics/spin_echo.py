"""Fast (turbo) spin echo, and FLAIR: inversion recovery that nulls the fluid, read by a fast spin echo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from strokelabel.physics.acquisition import (
    Acquisition,
    Field,
    check_fraction,
    check_order,
    check_positive,
    decay,
    radians,
    recovery,
)
from strokelabel.physics.maps import QuantitativeMaps


@dataclass(frozen=True, eq=False)
class SpinEchoReadout:
    """Map of a spin-echo readout from Mz before excitation to Mz at its end: end = constant + slope * Mz.

    Attributes:
        amplitude: echo amplitude per unit Mz, without T2 decay.
        constant, slope: see above.
    """

    amplitude: Tensor
    constant: Tensor
    slope: Tensor


def spin_echo_readout(
    maps: QuantitativeMaps, echo_time: float, recovery_time: float, transmit: Field
) -> SpinEchoReadout:
    """Follow Mz from the excitation to `recovery_time` after the refocusing pulse.

    Args:
        maps: tissue properties.
        echo_time: in seconds; refocusing happens at half of it.
        recovery_time: from the refocusing pulse on, in seconds.
        transmit: relative transmit field.
    """
    excitation, refocusing = radians(90, transmit), radians(180, transmit)
    turned = torch.cos(refocusing) * decay(maps.r1, recovery_time)
    return SpinEchoReadout(
        amplitude=torch.sin(excitation) * torch.sin(refocusing / 2) ** 2,
        constant=recovery(maps.r1, recovery_time) + turned * recovery(maps.r1, echo_time / 2),
        slope=turned * decay(maps.r1, echo_time / 2) * torch.cos(excitation),
    )


@dataclass(frozen=True)
class FastSpinEcho(Acquisition):
    """Spin-echo signal with R2 (qSynth eq. 3, with the effect of the refocusing pulse on recovery).

    At nominal transmit field
        S = PD (1 - 2 exp(-R1 (TR - TE/2)) + exp(-R1 TR)) exp(-R2 TE),
    which is the paper's PD (1 - exp(-R1 TR)) exp(-R2 TE) as long as TE is much shorter than TR.

    Attributes:
        echo_time: effective echo time in seconds.
        repetition_time: in seconds.

    Raises:
        OptionError: a time is not positive, or the echo comes after the repetition.
    """

    echo_time: float = 0.1
    repetition_time: float = 4.0

    name: ClassVar[str] = "fse"
    title: ClassVar[str] = "fast spin echo"
    equation: ClassVar[str] = "S = PD (1 − 2 e^(−R1 (TR − TE/2)) + e^(−R1 TR)) e^(−R2 TE)"

    def __post_init__(self) -> None:
        check_positive(echo_time=self.echo_time, repetition_time=self.repetition_time)
        check_order(("the echo time", self.echo_time), ("the repetition time", self.repetition_time))

    def signal(self, maps: QuantitativeMaps, receive: Field = 1.0, transmit: Field = 1.0) -> Tensor:
        """See `Acquisition.signal`."""
        recovery_time = self.repetition_time - self.echo_time / 2
        readout = spin_echo_readout(maps, self.echo_time, recovery_time, transmit)
        steady = readout.constant / (1 - readout.slope)
        return receive * maps.pd * readout.amplitude * steady * decay(maps.r2, self.echo_time)

    def bids(self) -> dict[str, Any]:
        """See `Acquisition.bids`."""
        return {
            "PulseSequenceType": "Fast spin echo",
            "EchoTime": self.echo_time,
            "RepetitionTime": self.repetition_time,
        }


@dataclass(frozen=True)
class Flair(Acquisition):
    """Inversion-recovery spin echo in its steady state, magnitude (qSynth eq. 5 with its missing term).

    At nominal transmit field and full inversion
        S = PD |1 - 2 exp(-R1 TI) + 2 exp(-R1 (TR - TE/2)) - exp(-R1 TR)| exp(-R2 TE).
    The paper's 1 - 2 exp(-R1 TI) + exp(-R1 TR) is the limit TE to 0; it is signed in the public code. The inversion
    is adiabatic: its efficiency does not depend on the transmit field.

    Attributes:
        echo_time: effective echo time in seconds.
        repetition_time: from inversion to inversion, in seconds.
        inversion_time: from inversion to excitation, in seconds.
        inversion_efficiency: 1 turns Mz into -Mz, 0.5 into -Mz/2.

    Raises:
        OptionError: a time is not positive, the efficiency is not in (0, 1], or the echo does not fit between
            inversion time and repetition time.
    """

    echo_time: float = 0.12
    repetition_time: float = 9.0
    inversion_time: float = 2.5
    inversion_efficiency: float = 1.0

    name: ClassVar[str] = "flair"
    title: ClassVar[str] = "FLAIR"
    equation: ClassVar[str] = "S = PD |1 − 2 e^(−R1 TI) + 2 e^(−R1 (TR − TE/2)) − e^(−R1 TR)| e^(−R2 TE)"

    def __post_init__(self) -> None:
        check_positive(
            echo_time=self.echo_time,
            repetition_time=self.repetition_time,
            inversion_time=self.inversion_time,
        )
        check_fraction(inversion_efficiency=self.inversion_efficiency)
        check_order(
            ("the inversion time", self.inversion_time),
            ("the echo after it", self.inversion_time + self.echo_time),
            ("the repetition time", self.repetition_time),
        )

    def signal(self, maps: QuantitativeMaps, receive: Field = 1.0, transmit: Field = 1.0) -> Tensor:
        """See `Acquisition.signal`."""
        recovery_time = self.repetition_time - self.inversion_time - self.echo_time / 2
        readout = spin_echo_readout(maps, self.echo_time, recovery_time, transmit)
        turned = self.inversion_efficiency * decay(maps.r1, self.inversion_time)
        recovered = recovery(maps.r1, self.inversion_time)
        steady = (recovered - turned * readout.constant) / (1 + turned * readout.slope)
        return receive * maps.pd * readout.amplitude * steady * decay(maps.r2, self.echo_time)

    def bids(self) -> dict[str, Any]:
        """See `Acquisition.bids`."""
        return {
            "PulseSequenceType": "Inversion recovery fast spin echo",
            "EchoTime": self.echo_time,
            "RepetitionTime": self.repetition_time,
            "InversionTime": self.inversion_time,
        }
