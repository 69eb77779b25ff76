"""Magnetisation-prepared rapid gradient echoes, whose readout is a train of small-angle excitations.

MP2RAGE combines two readouts after one inversion, so that proton density, R2* and the receive field cancel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from strokelabel.physics.acquisition import (
    Acquisition,
    Field,
    check_flip_angle,
    check_fraction,
    check_order,
    check_positive,
    decay,
    radians,
    recovery,
)
from strokelabel.physics.maps import QuantitativeMaps


class ReadoutTrain:
    """Excitations at a fixed spacing, each followed by recovery; transverse magnetisation is spoiled in between.

    Mz before pulse k of the train is a geometric series (Marques et al. 2010, NeuroImage 49:1271, appendix):
        Mz(k) = q^k Mz(0) + (1 - E1) (1 - q^k) / (1 - q), q = cos(a) E1, E1 = exp(-R1 TX).

    Args:
        r1: relaxation rate in s^-1.
        flip_angle: nominal, in degrees.
        spacing: TX in seconds.
        transmit: relative transmit field.
    """

    def __init__(self, r1: Tensor, flip_angle: float, spacing: float, transmit: Field) -> None:
        angle = radians(flip_angle, transmit)
        recovered = recovery(r1, spacing)
        self.sine = torch.sin(angle)
        self._ratio = torch.cos(angle) * (1 - recovered)
        # Where nothing recovers (R1 = 0) nor is tipped, 1 - q is 0, and so is what it divides.
        self._plateau = recovered / (1 - self._ratio).clamp_min(torch.finfo(recovered.dtype).tiny)

    def kept(self, pulses: int) -> Tensor:
        """Return the fraction of Mz that is left after so many pulses."""
        return self._ratio**pulses

    def after(self, mz: Tensor | float, pulses: int) -> Tensor:
        """Return the Mz before pulse number `pulses` (from 0), or at the end of a train of so many."""
        kept = self.kept(pulses)
        return mz * kept + self._plateau * (1 - kept)


def recover(mz: Tensor | float, r1: Tensor, seconds: float) -> Tensor:
    """Return the Mz after free relaxation towards 1."""
    return mz + (1 - mz) * recovery(r1, seconds)


@dataclass(frozen=True)
class Mprage(Acquisition):
    """Full inversion-recovery steady state (Marques et al. 2010, NeuroImage 49:1271, for one readout).

    Inversion, a wait, n excitations TX apart of which number n // 2 reads the centre of k-space at TI, a wait until TR.
    qSynth's eq. 6 lacks inversion, its efficiency and the wait before the readout.

    Attributes:
        echo_time: in seconds.
        repetition_time: from inversion to inversion, in seconds.
        inversion_time: from inversion to the central excitation, in seconds.
        flip_angle: of the excitations, in degrees.
        excitation_spacing: TX, from excitation to excitation, in seconds.
        excitations: how many follow one inversion.
        inversion_efficiency: 1 turns Mz into -Mz. The pulse is adiabatic: independent of the transmit field.

    Raises:
        OptionError: a number is out of its range, or the train does not fit between inversion and repetition.
    """

    echo_time: float = 0.003
    repetition_time: float = 2.3
    inversion_time: float = 0.9
    flip_angle: float = 9.0
    excitation_spacing: float = 0.007
    excitations: int = 176
    inversion_efficiency: float = 0.96

    name: ClassVar[str] = "mprage"
    title: ClassVar[str] = "MPRAGE"
    equation: ClassVar[str] = (
        "S = PD sin α |Mz(n/2)| e^(−R2* TE), Mz(k) = q^k Mz(0) + (1 − E1)(1 − q^k)/(1 − q), "
        "q = cos α E1, E1 = e^(−R1 TX), Mz(0) after inversion in the steady state"
    )

    def __post_init__(self) -> None:
        check_positive(
            echo_time=self.echo_time,
            repetition_time=self.repetition_time,
            inversion_time=self.inversion_time,
            excitation_spacing=self.excitation_spacing,
            excitations=self.excitations,
        )
        check_flip_angle(flip_angle=self.flip_angle)
        check_fraction(inversion_efficiency=self.inversion_efficiency)
        check_order(("the echo time", self.echo_time), ("the next excitation", self.excitation_spacing))
        check_order(
            ("the inversion", 0.0),
            ("the first excitation", self._train_start),
            ("the end of the readout train", self._train_end),
            ("the repetition time", self.repetition_time),
        )

    @property
    def _train_start(self) -> float:
        return self.inversion_time - (self.excitations // 2) * self.excitation_spacing

    @property
    def _train_end(self) -> float:
        return self._train_start + self.excitations * self.excitation_spacing

    def signal(self, maps: QuantitativeMaps, receive: Field = 1.0, transmit: Field = 1.0) -> Tensor:
        """See `Acquisition.signal`."""
        train = ReadoutTrain(maps.r1, self.flip_angle, self.excitation_spacing, transmit)
        start = self._inverted(self._steady_state(maps.r1, train), maps.r1)
        center = train.after(start, self.excitations // 2)
        return receive * maps.pd * train.sine * center * decay(maps.r2_star, self.echo_time)

    def _steady_state(self, r1: Tensor, train: ReadoutTrain) -> Tensor:
        """Return the Mz before the inversion: the fixed point of one period, constant + slope * Mz."""
        end_of_train = train.after(self._inverted(0.0, r1), self.excitations)
        constant = recover(end_of_train, r1, self.repetition_time - self._train_end)
        free = self._train_start + self.repetition_time - self._train_end
        slope = -self.inversion_efficiency * decay(r1, free) * train.kept(self.excitations)
        return constant / (1 - slope)

    def _inverted(self, mz: Tensor | float, r1: Tensor) -> Tensor:
        """Return the Mz before the train, from Mz before the inversion."""
        return recover(-self.inversion_efficiency * mz, r1, self._train_start)

    def bids(self) -> dict[str, Any]:
        """See `Acquisition.bids`."""
        return {
            "PulseSequenceType": "MPRAGE",
            "EchoTime": self.echo_time,
            "RepetitionTime": self.repetition_time,
            "RepetitionTimeExcitation": self.excitation_spacing,
            "InversionTime": self.inversion_time,
            "FlipAngle": self.flip_angle,
            "NumberShots": self.excitations,
        }


@dataclass(frozen=True)
class Mp2rage(Acquisition):
    """Unified image of Marques et al. 2010 (NeuroImage 49:1271), shifted to be positive.

    U = Re(S1* S2) / (|S1|^2 + |S2|^2) lies in [-0.5, 0.5]; the image is U + 0.5, as scanners store it, and 0 where
    there is no signal at all.

    Attributes:
        echo_time: of both readouts, in seconds.
        repetition_time: from inversion to inversion, in seconds.
        inversion_time_1, inversion_time_2: from inversion to the central excitation of each readout, in seconds.
        flip_angle_1, flip_angle_2: of each readout, in degrees.
        excitation_spacing: from excitation to excitation, in seconds.
        excitations: of each readout.
        inversion_efficiency: 1 turns Mz into -Mz. The pulse is adiabatic: independent of the transmit field.

    Raises:
        OptionError: a number is out of its range, or the trains overlap or do not fit into the repetition.
    """

    echo_time: float = 0.003
    repetition_time: float = 5.0
    inversion_time_1: float = 0.7
    inversion_time_2: float = 2.5
    flip_angle_1: float = 4.0
    flip_angle_2: float = 5.0
    excitation_spacing: float = 0.0071
    excitations: int = 176
    inversion_efficiency: float = 0.96

    name: ClassVar[str] = "mp2rage"
    title: ClassVar[str] = "MP2RAGE"
    equation: ClassVar[str] = (
        "S = 1/2 + S1 S2 / (S1² + S2²), S1 and S2 the signed MPRAGE signals at TI1, α1 and TI2, α2"
    )
    receive_cancels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive(
            echo_time=self.echo_time,
            repetition_time=self.repetition_time,
            inversion_time_1=self.inversion_time_1,
            inversion_time_2=self.inversion_time_2,
            excitation_spacing=self.excitation_spacing,
            excitations=self.excitations,
        )
        check_flip_angle(flip_angle_1=self.flip_angle_1, flip_angle_2=self.flip_angle_2)
        check_fraction(inversion_efficiency=self.inversion_efficiency)
        check_order(("the echo time", self.echo_time), ("the next excitation", self.excitation_spacing))
        (start_1, end_1), (start_2, end_2) = self._trains
        check_order(
            ("the inversion", 0.0),
            ("the first excitation of the first readout", start_1),
            ("the end of the first readout", end_1),
            ("the first excitation of the second readout", start_2),
            ("the end of the second readout", end_2),
            ("the repetition time", self.repetition_time),
        )

    @property
    def _trains(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Begin and end of each readout, in seconds after the inversion."""
        before = (self.excitations // 2) * self.excitation_spacing
        length = self.excitations * self.excitation_spacing
        first, second = self.inversion_time_1 - before, self.inversion_time_2 - before
        return (first, first + length), (second, second + length)

    def signal(self, maps: QuantitativeMaps, receive: Field = 1.0, transmit: Field = 1.0) -> Tensor:
        """See `Acquisition.signal`; here a number from 0 to 1 without a unit."""
        first, second = self.readouts(maps, receive, transmit)
        power = first**2 + second**2
        some = power > 0
        unified = first * second / torch.where(some, power, torch.ones_like(power))
        return torch.where(some, unified + 0.5, torch.zeros_like(power))

    def readouts(
        self, maps: QuantitativeMaps, receive: Field = 1.0, transmit: Field = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Return the two signed images that `signal` combines, in the units of PD."""
        trains = [
            ReadoutTrain(maps.r1, angle, self.excitation_spacing, transmit)
            for angle in (self.flip_angle_1, self.flip_angle_2)
        ]
        # One period is affine in Mz, so its values at 0 and 1 give the fixed point.
        zero, one = (self._period(value, maps.r1, trains)[2] for value in (0.0, 1.0))
        center_1, center_2, _ = self._period(zero / (1 - one + zero), maps.r1, trains)
        scale = receive * maps.pd * decay(maps.r2_star, self.echo_time)
        return scale * trains[0].sine * center_1, scale * trains[1].sine * center_2

    def _period(
        self, before: Tensor | float, r1: Tensor, trains: list[ReadoutTrain]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the Mz at the centre of both readouts, and one repetition later."""
        (start_1, end_1), (start_2, end_2) = self._trains
        mz = recover(-self.inversion_efficiency * before, r1, start_1)
        center_1 = trains[0].after(mz, self.excitations // 2)
        mz = recover(trains[0].after(mz, self.excitations), r1, start_2 - end_1)
        center_2 = trains[1].after(mz, self.excitations // 2)
        mz = trains[1].after(mz, self.excitations)
        return center_1, center_2, recover(mz, r1, self.repetition_time - end_2)

    def bids(self) -> dict[str, Any]:
        """See `Acquisition.bids`."""
        return {
            "PulseSequenceType": "MP2RAGE",
            "EchoTime": self.echo_time,
            "RepetitionTime": self.repetition_time,
            "RepetitionTimeExcitation": self.excitation_spacing,
            "InversionTime": [self.inversion_time_1, self.inversion_time_2],
            "FlipAngle": [self.flip_angle_1, self.flip_angle_2],
            "NumberShots": self.excitations,
        }
