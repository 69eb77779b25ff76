"""Relaxation at other field strengths than the 3 T of the priors."""

from __future__ import annotations

import math

import pytest
import torch

from strokelabel.errors import OptionError
from strokelabel.physics import QuantitativeMaps, default_priors
from strokelabel.physics.field_strength import at_field


def tissue(name: str) -> QuantitativeMaps:
    return QuantitativeMaps(*torch.tensor(default_priors().means(name)))


def test_t1_of_tissue_follows_the_measured_power_law_and_that_of_fluid_does_not_change() -> None:
    # Rooney et al. 2007: T1 = A (gamma B0)^b with b = 0.376 in gray and 0.382 in white matter, 4.3 s in fluid.
    for name, power in (("gray", 0.376), ("white", 0.382)):
        ratio = tissue(name).r1 / at_field(tissue(name), 1.5).r1
        assert float(ratio) == pytest.approx(0.5**power, rel=0.01)
    assert torch.equal(at_field(tissue("csf"), 7.0).r1, tissue("csf").r1)


def test_the_part_of_r2_star_that_is_susceptibility_grows_with_the_field() -> None:
    # Peters et al. 2007: T2* of gray matter is 84 ms at 1.5 T and 66 ms at 3 T.
    maps = tissue("gray")
    assert float(at_field(maps, 1.5).r2_star / maps.r2_star) == pytest.approx(66 / 84, rel=0.03)
    at_half = at_field(maps, 1.5)
    assert float(at_half.r2_star - at_half.r2) == pytest.approx(float(maps.r2_star - maps.r2) / 2)
    assert torch.equal(at_half.r2, maps.r2) and torch.equal(at_half.pd, maps.pd)


def test_three_tesla_is_the_priors_own_field() -> None:
    maps = tissue("lesion-acute")
    torch.testing.assert_close(at_field(maps, 3.0).stack(), maps.stack())


@pytest.mark.parametrize("tesla", [0.0, -3.0, 0.1, 9.4, math.nan, math.inf])
def test_fields_at_which_nothing_was_measured_are_refused(tesla: float) -> None:
    with pytest.raises(OptionError, match=r"0\.2 to 7 T"):
        at_field(tissue("gray"), tesla)
