"""Relaxation rates at other field strengths than the 3 T of the priors."""

from __future__ import annotations

import math

from strokelabel.errors import OptionError
from strokelabel.physics.maps import QuantitativeMaps, free_water_to_tissue

PRIOR_TESLA = 3.0
"""Field strength that the tissue priors are of."""

FIELD_TESLA = (0.2, 7.0)
"""Field strengths at which T1 was measured by Rooney et al. 2007."""

_T1_EXPONENT = 0.38
"""T1 of brain tissue grows with this power of the field: 0.376 in gray, 0.382 in white matter (Rooney et al. 2007)."""


def at_field(maps: QuantitativeMaps, tesla: float) -> QuantitativeMaps:
    """Return maps of 3 T as they are at another field strength.

    T1 of tissue grows with the power 0.38 of the field, that of free water does not depend on it (Rooney et al. 2007,
    Magn Reson Med 57:308). R2' = R2* - R2 is proportional to the field. PD and MT stay, and so does R2, which
    hardly differs between 1.5 T and 3 T (Stanisz et al. 2005, Magn Reson Med 54:507); at 7 T it is higher than here.

    Args:
        maps: at 3 T.
        tesla: in `FIELD_TESLA`.

    Raises:
        OptionError: another field strength.
    """
    low, high = FIELD_TESLA
    if not (math.isfinite(tesla) and low <= tesla <= high):
        raise OptionError(f"field: expected {low:g} to {high:g} T, got {tesla:g}; change it")
    if tesla == PRIOR_TESLA:
        return maps
    ratio = tesla / PRIOR_TESLA
    r1 = maps.r1 * ratio ** (-_T1_EXPONENT * free_water_to_tissue(maps.r1))
    r2_star = maps.r2 + (maps.r2_star - maps.r2) * ratio
    return QuantitativeMaps(maps.pd, r1, maps.r2, r2_star, maps.mt)
