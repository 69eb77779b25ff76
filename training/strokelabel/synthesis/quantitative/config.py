"""Acquisition of the scans that an estimator is trained on."""

from __future__ import annotations

from pydantic import Field

from strokelabel.physics.distributions import Uniform
from strokelabel.physics.presets import Protocol
from strokelabel.synthesis.config_sections import Range, Section


class MprageConfig(Section):
    """Ranges of uniform distributions: seconds, degrees. Impossible combinations are drawn again.

    The paper's (Chalcroft et al. 2025, qATLAS, section 2.1), with the train of excitations as in its code. The paper's
    "B0 in [0.3, 7] T" is a constant factor in its code, which normalisation removes, so it is not here.
    """

    repetition_time: Range = (1.9, 2.5)
    inversion_time: Range = (0.6, 1.2)
    echo_time: Range = (0.002, 0.004)
    flip_angle: Range = (5.0, 12.0)
    excitation_spacing: Range = (0.004, 0.008)
    """Twice the echo time in the public code."""
    excitations: Range = (100.0, 200.0)
    inversion_efficiency: Range = (0.8, 1.0)
    gibbs: Range = (0.1, 0.5)
    """Share of the radius of k-space that is lost (the public code: 0.1 to 0.8, at 1 mm)."""
    gibbs_probability: float = Field(0.5, ge=0, le=1)

    def protocol(self) -> Protocol:
        """Return the distributions of the acquisition parameters."""
        names = (
            "repetition_time",
            "inversion_time",
            "echo_time",
            "flip_angle",
            "excitation_spacing",
            "excitations",
            "inversion_efficiency",
        )
        return Protocol("mprage", {name: Uniform(*getattr(self, name)) for name in names})
