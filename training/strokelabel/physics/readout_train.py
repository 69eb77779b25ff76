"""A train of small-angle excitations, as MPRAGE and MP2RAGE read out with."""

from __future__ import annotations

import torch
from torch import Tensor

from strokelabel.physics.acquisition import Field, radians, recovery


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
