"""Quantitative maps: what a voxel is, whatever sequence looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields as dataclass_fields

import torch
from torch import Tensor

from strokelabel.errors import DimensionError

MAP_NAMES: tuple[str, ...] = ("pd", "r1", "r2", "r2_star", "mt")
"""The five maps in the order in which `QuantitativeMaps.stack` lays them out."""

FREE_WATER_R2 = 0.6
"""R2 of free water in the brain in s^-1 (see the prior "csf")."""

_R2_OVER_R2_STAR = 0.55
"""Between R2/R2* of the priors of gray (0.5) and white matter (0.6)."""

_FREE_WATER_R1 = (0.35, 0.55)
"""Below the first R1 (s^-1) a voxel is free water, above the second it is tissue."""


@dataclass(frozen=True, eq=False)
class QuantitativeMaps:
    """The five properties that the signal equations need, as tensors of one shape (any, batches included).

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
        """The maps along a new axis, in the order of `MAP_NAMES`."""
        return torch.stack([getattr(self, field.name) for field in dataclass_fields(self)], dim=dim)

    @classmethod
    def unstack(cls, values: Tensor, dim: int = 0) -> QuantitativeMaps:
        """The inverse of `stack`.

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
    low, high = _FREE_WATER_R1
    tissue = ((r1 - low) / (high - low)).clamp(0, 1)
    fluid = torch.minimum(r2_star, torch.full_like(r2_star, FREE_WATER_R2))
    return torch.lerp(fluid, _R2_OVER_R2_STAR * r2_star, tissue)
