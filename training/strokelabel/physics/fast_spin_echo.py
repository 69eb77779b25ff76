"""Fast (turbo) spin echo: T1, proton-density or T2 weighting by its two times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from strokelabel.physics.acquisition import Acquisition, Field, decay
from strokelabel.physics.maps import QuantitativeMaps
from strokelabel.physics.spin_echo import spin_echo_readout
from strokelabel.physics.timing import check_order, check_positive


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
