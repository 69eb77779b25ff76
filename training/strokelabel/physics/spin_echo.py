"""The part that fast spin echo and FLAIR share: excitation, refocusing at half the echo time, and recovery.

Excitation is 90 and refocusing 180 degrees, both scaled by the transmit field. Crushers leave only the spin echo,
and transverse magnetisation is gone before the next excitation. One refocusing pulse counts for recovery: later pulses
of an echo train only shorten it further.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.physics.acquisition import Field, decay, radians, recovery
from strokelabel.physics.maps import QuantitativeMaps


@dataclass(frozen=True, eq=False)
class SpinEchoReadout:
    """How a spin-echo readout maps Mz before excitation to Mz at its end: end = constant + slope * Mz.

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
