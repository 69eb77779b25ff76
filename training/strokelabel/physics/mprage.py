"""Magnetisation-prepared rapid gradient echo (MPRAGE, inversion-recovery TFL/TFE/BRAVO)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

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
from strokelabel.physics.readout_train import ReadoutTrain, recover


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
