"""Are these maps in the units that the equations expect? A map in milliseconds simulates without an error, wrongly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strokelabel.errors import ImageError
from strokelabel.physics.maps import MAP_NAMES, QuantitativeMaps


@dataclass(frozen=True)
class Bounds:
    """What a map's high values (its 90th percentile where it is not zero) can be in a head.

    Attributes:
        name: name for messages.
        unit: unit for messages.
        low, high: the plausible range.
        below, above: what a map outside it probably is, and what to do.
    """

    name: str
    unit: str
    low: float
    high: float
    below: str
    above: str


BOUNDS: dict[str, Bounds] = {
    "pd": Bounds("PD", "percentage units", 20, 250, "it looks like a fraction: multiply it by 100",
                 "scale it so that pure water is 100"),
    "r1": Bounds("R1", "s^-1", 0.1, 20, "it looks like ms^-1, or like T1 in s: multiply by 1000, or pass 1/T1",
                 "it looks like T1, or like R1 in 10^-3 s^-1: pass 1/T1 in s, or divide by 1000"),
    "r2": Bounds("R2", "s^-1", 0.4, 5000, "it looks like ms^-1, or like T2 in s: multiply by 1000, or pass 1/T2",
                 "pass 1/T2 with T2 in s"),
    "r2_star": Bounds("R2*", "s^-1", 0.4, 5000,
                      "it looks like ms^-1, or like T2* in s: multiply by 1000, or pass 1/T2*",
                      "pass 1/T2* with T2* in s"),
    "mt": Bounds("MT", "percentage units", 0.1, 20, "it looks like a fraction: multiply it by 100",
                 "it looks like a magnetisation-transfer ratio: pass the saturation (MTsat)"),
}  # fmt: skip
"""Plausible values of each map."""


def check_units(maps: QuantitativeMaps, ignore: tuple[str, ...] = ()) -> None:
    """Refuse maps that cannot be in the units that `QuantitativeMaps` states.

    Args:
        maps: maps of a head, or of a part of it.
        ignore: names of maps that were not measured, but filled in.

    Raises:
        ImageError: a map holds NaN, infinite or negative values, or its values are implausible in its unit. A map
            of zeros passes (no magnetisation transfer, say), except for PD and R1.
    """
    for name in MAP_NAMES:
        if name not in ignore:
            _check_map(getattr(maps, name).detach(), BOUNDS[name], required=name in ("pd", "r1"))


def _check_map(values: Tensor, bounds: Bounds, required: bool) -> None:
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise ImageError(
            f"{bounds.name}: expected finite values of at least 0 {bounds.unit}, found NaN, infinite or negative "
            "ones; set them to 0 first"
        )
    found = _high_value(values)
    if found == 0 and not required:
        return
    if not bounds.low <= found <= bounds.high:
        raise ImageError(
            f"{bounds.name}: expected {bounds.low:g} to {bounds.high:g} {bounds.unit} in the head, found about "
            f"{found:.3g}; {bounds.below if found < bounds.low else bounds.above}"
        )


def _high_value(values: Tensor) -> float:
    """90th percentile of what is not zero; 0 if all is."""
    inside = values[values > 0].flatten()
    if inside.numel() == 0:
        return 0.0
    return float(inside.float().kthvalue(max(1, round(0.9 * inside.numel()))).values)
