"""Maps keep their order, notice wrong units, and noise is Rician."""

from __future__ import annotations

import math

import pytest
import torch

from strokelabel.errors import DimensionError, ImageError, OptionError
from strokelabel.physics import MAP_NAMES, QuantitativeMaps, check_units, r2_from_r2_star, rician_noise
from support.tissue_phantoms import maps_of

HEAD = maps_of("background", "gray", "white", "white", "csf", "soft", "skin", "gray")


def scaled(**factors):
    return QuantitativeMaps(*(getattr(HEAD, name) * factors.get(name, 1.0) for name in MAP_NAMES))


def test_stacking_and_unstacking_are_inverse_along_any_axis():
    values = torch.rand(2, 5, 3, 4)
    maps = QuantitativeMaps.unstack(values, dim=1)
    assert maps.mt.shape == (2, 3, 4)
    assert torch.equal(maps.stack(dim=1), values)


def test_maps_of_different_shapes_are_refused():
    with pytest.raises(DimensionError, match="resample them to one grid"):
        QuantitativeMaps(*(torch.zeros(3) for _ in range(4)), torch.zeros(4))
    with pytest.raises(DimensionError, match="expected 5 maps"):
        QuantitativeMaps.unstack(torch.zeros(4, 3))


def test_maps_in_the_right_units_pass_and_no_magnetisation_transfer_is_fine():
    check_units(HEAD)
    check_units(scaled(mt=0.0))


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"pd": 0.01}, "PD: .* looks like a fraction: multiply it by 100"),
        ({"pd": 100.0}, "PD: .* scale it"),
        ({"r1": 0.001}, "R1: .* ms\\^-1"),
        ({"r1": 1000.0}, "R1: .* looks like T1"),
        ({"r1": 0.0}, "R1: "),
        ({"r2": 0.001}, "R2: .* ms\\^-1"),
        ({"r2_star": 0.001}, "R2\\*: .* ms\\^-1"),
        ({"mt": 0.01}, "MT: .* looks like a fraction"),
        ({"mt": 30.0}, "MT: .* magnetisation-transfer ratio"),
        ({"r2": -1.0}, "R2: expected finite values of at least 0"),
        ({"pd": float("nan")}, "PD: expected finite values"),
    ],
)
def test_maps_in_other_units_are_refused_with_what_they_look_like(factors, message):
    with pytest.raises(ImageError, match=message):
        check_units(scaled(**factors))


def test_a_map_that_was_filled_in_is_not_checked():
    check_units(scaled(r2=0.001), ignore=("r2",))


def test_r2_is_guessed_from_r2_star_with_an_exception_for_fluid():
    maps = maps_of("gray", "white", "csf", "ventricle")
    guess = r2_from_r2_star(maps.r2_star, maps.r1)
    torch.testing.assert_close(guess, maps.r2, rtol=0.5, atol=0)
    assert bool((guess <= maps.r2_star).all())


def test_noise_on_nothing_is_rayleigh_and_on_much_is_gaussian():
    generator = torch.Generator().manual_seed(5)
    nothing = rician_noise(torch.zeros(200_000), 2.0, generator)
    assert float(nothing.mean()) == pytest.approx(2 * math.sqrt(math.pi / 2), rel=0.01)
    much = rician_noise(torch.full((200_000,), 100.0), 2.0, generator)
    assert float(much.std()) == pytest.approx(2.0, rel=0.02)
    assert float((much**2).mean()) == pytest.approx(100**2 + 2 * 2**2, rel=1e-3), "second moment of Rice"


def test_noise_is_repeatable_and_its_level_may_vary_in_space():
    level = torch.tensor([[0.0], [3.0]])
    first, again = (
        rician_noise(torch.ones(2, 1000), level, torch.Generator().manual_seed(9)) for _ in range(2)
    )
    assert torch.equal(first, again) and bool((first[0] == 1).all()) and float(first[1].std()) > 1
    with pytest.raises(OptionError, match="at least 0"):
        rician_noise(torch.ones(3), -1.0)
