"""MP2RAGE: two readouts after one inversion, combined so that proton density, R2* and the receive field cancel."""

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
)
from strokelabel.physics.maps import QuantitativeMaps
from strokelabel.physics.mprage import ReadoutTrain, recover


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
