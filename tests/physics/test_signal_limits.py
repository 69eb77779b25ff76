"""The signal equations where their value is known: long and short times, null points, best angles, real contrasts."""

from __future__ import annotations

import math

import pytest
import torch

from strokelabel.physics import (
    SEQUENCES,
    FastSpinEcho,
    Flair,
    GradientEcho,
    Mp2rage,
    Mprage,
    QuantitativeMaps,
    SpoiledGradientEcho,
)
from support.tissue_phantoms import maps_of, one_voxel

FOREVER = 1e3
AT_ONCE = 1e-9
VOXEL = one_voxel()


def close(value, expected, relative=1e-5):
    assert float(value) == pytest.approx(expected, rel=relative)


def test_spin_echo_of_fully_recovered_spins_is_proton_density_with_t2_decay():
    close(FastSpinEcho(AT_ONCE, FOREVER).magnitude(VOXEL), 80)
    close(FastSpinEcho(0.1, FOREVER).magnitude(VOXEL), 80 * math.exp(-1.2))


def test_spin_echo_without_echo_time_is_the_papers_saturation_recovery():
    close(FastSpinEcho(AT_ONCE, 0.7).magnitude(VOXEL), 80 * (1 - math.exp(-0.7)))


def test_gradient_echo_at_90_degrees_is_saturation_recovery_with_t2_star_decay():
    close(GradientEcho(0.01, 0.5, 90).magnitude(VOXEL), 80 * (1 - math.exp(-0.5)) * math.exp(-0.2))


def test_gradient_echo_is_brightest_at_the_ernst_angle():
    ernst = math.degrees(math.acos(math.exp(-0.05)))
    angles = torch.linspace(ernst - 2, ernst + 2, 81)
    signals = [float(GradientEcho(0.005, 0.05, float(a)).magnitude(VOXEL)) for a in angles]
    assert float(angles[max(range(81), key=signals.__getitem__)]) == pytest.approx(ernst, abs=0.06)


def test_spoiled_gradient_echo_without_saturation_is_the_gradient_echo():
    expected = float(GradientEcho(0.005, 0.025, 20).magnitude(VOXEL))
    close(SpoiledGradientEcho(0.005, 0.025, 20, mt_pulse=False).magnitude(VOXEL), expected)
    close(SpoiledGradientEcho(0.005, 0.025, 20).magnitude(one_voxel(mt=0.0)), expected)


def test_saturation_is_a_percentage_and_never_turns_the_signal_over():
    signals = SpoiledGradientEcho(0.005, 0.025, 20).magnitude(maps_of("gray", "white"))
    assert signals.tolist() == pytest.approx([4.6, 5.2], abs=0.05), "as the specification computes it"
    assert float(SpoiledGradientEcho().magnitude(one_voxel(mt=150.0))) == 0


def test_inversion_recovery_is_null_where_half_has_recovered():
    null = Flair(AT_ONCE, FOREVER, math.log(2)).magnitude(VOXEL)
    assert float(null) < 1e-6
    for earlier in (0.1, 0.3, 0.5):
        close(Flair(AT_ONCE, FOREVER, earlier).magnitude(VOXEL), 80 * abs(1 - 2 * math.exp(-earlier)))


def test_flair_has_the_known_echo_time_correction():
    te, tr, ti = 0.3, 3.0, 1.2
    expected = abs(1 - 2 * math.exp(-ti) + 2 * math.exp(-(tr - te / 2)) - math.exp(-tr)) * math.exp(-12 * te)
    close(Flair(te, tr, ti).magnitude(VOXEL), 80 * expected)


def test_an_inversion_long_ago_leaves_a_spin_echo():
    close(
        Flair(0.1, 2 * FOREVER, FOREVER).magnitude(VOXEL), float(FastSpinEcho(0.1, FOREVER).magnitude(VOXEL))
    )


def test_mprage_of_one_pulse_is_inversion_recovery():
    expected = 80 * math.sin(math.radians(10)) * abs(1 - 2 * math.exp(-0.4)) * math.exp(-20 * 0.002)
    close(Mprage(0.002, FOREVER, 0.4, 10, 0.005, 1, 1.0).magnitude(VOXEL), expected)


def test_mprage_with_a_long_train_reaches_the_gradient_echo():
    spacing, pulses = 0.01, 4000
    long = Mprage(0.003, 60.0, 25.0, 12, spacing, pulses, 0.9).magnitude(VOXEL)
    close(long, float(GradientEcho(0.003, spacing, 12).magnitude(VOXEL)), 1e-4)


def test_mp2rage_depends_on_r1_alone_and_stays_in_its_range():
    first = Mp2rage().magnitude(one_voxel())
    other = Mp2rage().magnitude(one_voxel(pd=20.0, r2=30.0, r2_star=60.0, mt=3.0), receive=0.4)
    close(other, float(first))
    everything = Mp2rage().magnitude(maps_of("gray", "white", "csf", "skin", "bone", "eye"))
    assert bool(((everything >= 0) & (everything <= 1)).all())


def test_air_is_black_in_every_sequence_and_has_finite_gradients():
    for kind in SEQUENCES.values():
        maps = maps_of("background", "white")
        for values in (maps.pd, maps.r1, maps.r2, maps.r2_star, maps.mt):
            values.requires_grad_()
        signal = kind().magnitude(maps)
        assert float(signal[0].detach()) == 0 and float(signal[1].detach()) > 0
        signal.sum().backward()
        assert all(bool(torch.isfinite(v.grad).all()) for v in (maps.pd, maps.r1)), kind.name


def test_voxels_of_zeros_stay_zero():
    nothing = one_voxel(0.0, 0.0, 0.0, 0.0, 0.0)
    for kind in SEQUENCES.values():
        assert float(kind().magnitude(nothing)) == 0


def test_the_signal_is_proportional_to_proton_density_and_receive_field():
    for name, kind in SEQUENCES.items():
        if name != "mp2rage":
            once, twice = (kind().magnitude(one_voxel(pd=pd)) for pd in (40.0, 80.0))
            close(twice, 2 * float(once))
            close(kind().magnitude(one_voxel(pd=40.0), receive=2.0), 2 * float(once))


def test_fields_vary_in_space_and_shapes_broadcast():
    generator = torch.Generator().manual_seed(3)
    maps = maps_of(*["gray"] * 60).stack().view(5, 2, 1, 3, 10).expand(5, 2, 1, 3, 10)
    batch = QuantitativeMaps.unstack(maps)
    transmit = 0.8 + 0.4 * torch.rand(2, 1, 3, 10, generator=generator, dtype=torch.float64)
    receive = 0.5 + torch.rand(1, 1, 3, 10, generator=generator, dtype=torch.float64)
    for kind in SEQUENCES.values():
        together = kind().magnitude(batch, receive, transmit)
        assert together.shape == (2, 1, 3, 10)
        alone = kind().magnitude(one_like(batch, (1, 0, 2, 7)), receive[0, 0, 2, 7], transmit[1, 0, 2, 7])
        close(together[1, 0, 2, 7], float(alone))


def one_like(maps, index):
    return type(maps)(*(getattr(maps, n)[index].view(1) for n in ("pd", "r1", "r2", "r2_star", "mt")))


def test_a_flip_angle_scaled_by_the_transmit_field_is_another_flip_angle():
    close(
        GradientEcho(0.005, 0.05, 20).magnitude(VOXEL, transmit=1.5),
        float(GradientEcho(0.005, 0.05, 30).magnitude(VOXEL)),
    )
    close(Mprage(flip_angle=6).magnitude(VOXEL, transmit=1.5), float(Mprage(flip_angle=9).magnitude(VOXEL)))


def test_single_precision_is_enough_even_for_the_shortest_times():
    maps, same = maps_of("gray", "white", "csf"), maps_of("gray", "white", "csf", dtype=torch.float32)
    for acquisition in (
        *(kind() for kind in SEQUENCES.values()),
        FastSpinEcho(0.0012, 0.0025),
        GradientEcho(0.002, 0.005, 5),
        Flair(0.0005, 0.003, 0.001),
    ):
        torch.testing.assert_close(
            acquisition.magnitude(same).double(), acquisition.magnitude(maps), rtol=1e-3, atol=1e-5
        )


def test_gradients_are_those_of_finite_differences():
    values = maps_of("gray", "white", "csf").stack().requires_grad_()
    for kind in SEQUENCES.values():
        assert torch.autograd.gradcheck(
            lambda v, kind=kind: kind().magnitude(type(VOXEL).unstack(v), 0.9, 1.1), (values,)
        )


def test_t2_weighting_makes_fluid_at_least_twice_as_bright_as_white_matter():
    white, csf, ventricle = FastSpinEcho(0.1, 4.0).magnitude(maps_of("white", "csf", "ventricle"))
    assert csf >= 2 * white and ventricle >= 2 * white


@pytest.mark.parametrize(
    ("echo_time", "repetition_time"), [(0.1, 9.0), (0.12, 9.0), (0.09, 8.5), (0.14, 9.0)]
)
def test_flair_nulls_fluid_below_15_percent_of_gray_matter(echo_time, repetition_time):
    gray, csf, ventricle = Flair(echo_time, repetition_time, 2.5).magnitude(
        maps_of("gray", "csf", "ventricle")
    )
    assert csf < 0.15 * gray and ventricle < 0.15 * gray


@pytest.mark.parametrize("acquisition", [Mprage(), Mprage(0.0025, 1.9, 0.9, 9, 0.007, 160), Mp2rage()])
def test_inversion_prepared_gradient_echoes_order_white_gray_fluid(acquisition):
    white, gray, csf = acquisition.magnitude(maps_of("white", "gray", "csf"))
    assert white > gray > csf
