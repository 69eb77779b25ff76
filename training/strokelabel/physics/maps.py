"""Quantitative maps: tissue parameters per voxel, independent of the sequence, in the units of the equations."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields as dataclass_fields

import torch
from torch import Tensor

from strokelabel.errors import DimensionError, ImageError

MAP_NAMES: tuple[str, ...] = ("pd", "r1", "r2", "r2_star", "mt")
"""Names of the five maps, in the order of `QuantitativeMaps.stack`."""

FREE_WATER_R2 = 0.6
"""R2 of free water in the brain in s^-1 (see the prior "csf")."""

_R2_OVER_R2_STAR = 0.55
"""Between R2/R2* of the priors of gray (0.5) and white matter (0.6)."""

_FREE_WATER_R1 = (0.35, 0.55)
"""Below the first R1 (s^-1) a voxel is free water, above the second it is tissue."""


@dataclass(frozen=True, eq=False)
class QuantitativeMaps:
    """Maps of the five properties in the signal equations, as tensors of one shape (any, batches included).

    Attributes:
        pd: proton density in percentage units; pure water is 100.
        r1: longitudinal relaxation rate in s^-1.
        r2: transverse relaxation rate in s^-1 (spin echo).
        r2_star: effective transverse relaxation rate in s^-1 (gradient echo).
        mt: magnetisation-transfer saturation in percentage units.
    """

    pd: Tensor
    r1: Tensor
    r2: Tensor
    r2_star: Tensor
    mt: Tensor

    def __post_init__(self) -> None:
        shapes = {name: tuple(getattr(self, name).shape) for name in MAP_NAMES}
        if len(set(shapes.values())) > 1:
            raise DimensionError(
                f"expected five quantitative maps of one shape, got {shapes}; resample them to one grid"
            )

    def stack(self, dim: int = 0) -> Tensor:
        """Stack the maps along a new axis, in the order of `MAP_NAMES`."""
        return torch.stack([getattr(self, field.name) for field in dataclass_fields(self)], dim=dim)

    @classmethod
    def unstack(cls, values: Tensor, dim: int = 0) -> QuantitativeMaps:
        """Invert `stack`.

        Raises:
            DimensionError: the axis does not hold five maps.
        """
        if values.shape[dim] != len(MAP_NAMES):
            raise DimensionError(
                f"expected {len(MAP_NAMES)} maps ({', '.join(MAP_NAMES)}) along axis {dim}, "
                f"got {values.shape[dim]}; stack them in this order"
            )
        return cls(*values.unbind(dim))


def r2_from_r2_star(r2_star: Tensor, r1: Tensor) -> Tensor:
    """Guess R2 where only R2* was measured: a fixed fraction of it in tissue, that of free water where R1 is low.

    Without the exception, cerebrospinal fluid would decay like tissue and be dark on a T2-weighted image: its R2*
    is susceptibility more than R2.
    """
    fluid = torch.minimum(r2_star, torch.full_like(r2_star, FREE_WATER_R2))
    return torch.lerp(fluid, _R2_OVER_R2_STAR * r2_star, free_water_to_tissue(r1))


def free_water_to_tissue(r1: Tensor) -> Tensor:
    """Return 0 where R1 (s^-1, at 3 T) is that of free water, 1 where it is that of tissue, and a ramp in between."""
    low, high = _FREE_WATER_R1
    return ((r1 - low) / (high - low)).clamp(0, 1)


@dataclass(frozen=True)
class Bounds:
    """Range of a map's high values (its 90th percentile where it is not zero) in a head.

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
    """Return the 90th percentile of the nonzero values; 0 if all are zero."""
    inside = values[values > 0].flatten()
    if inside.numel() == 0:
        return 0.0
    return float(inside.float().kthvalue(max(1, round(0.9 * inside.numel()))).values)
