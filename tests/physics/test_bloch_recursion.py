"""Every signal equation agrees with an independent Bloch simulation to 0.1 %, whatever tissue and parameters."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelabel.physics import FastSpinEcho, Flair, GradientEcho, Mp2rage, Mprage, SpoiledGradientEcho
from support.bloch import Spins, spin_echo, steady_state, train
from support.tissue_phantoms import tissues

TRANSMIT = st.floats(0.6, 1.3)
FEW = settings(max_examples=15, deadline=None, derandomize=True)
SEVERAL = settings(max_examples=25, deadline=None, derandomize=True)


def assert_agrees(ours, echo, maps):
    """Within 0.1 % of the signal, or of a ten-thousandth of PD where the signal all but vanishes."""
    expected = np.abs(echo) * maps.pd.numpy()
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-3, atol=1e-7 * float(maps.pd.max()))


@SEVERAL
@given(tissues(), st.floats(0.005, 0.3), st.floats(0.05, 6.0), TRANSMIT)
def test_fast_spin_echo(maps, echo_time, rest, transmit):
    acquisition = FastSpinEcho(echo_time, echo_time + rest)
    spins = Spins(maps.r1, maps.r2)

    (echo,) = steady_state(
        spins, lambda s: [spin_echo(s, echo_time, acquisition.repetition_time - echo_time / 2, transmit)]
    )

    assert_agrees(acquisition.magnitude(maps, transmit=transmit), echo, maps)


@SEVERAL
@given(
    tissues(), st.floats(0.005, 0.2), st.floats(0.1, 3.0), st.floats(0.05, 8.0), st.floats(0.7, 1.0), TRANSMIT
)
def test_flair(maps, echo_time, inversion_time, rest, efficiency, transmit):
    repetition_time = inversion_time + echo_time + rest
    acquisition = Flair(echo_time, repetition_time, inversion_time, efficiency)

    def repetition(spins):
        spins.scale_mz(-efficiency)
        spins.wait(inversion_time)
        return [spin_echo(spins, echo_time, repetition_time - inversion_time - echo_time / 2, transmit)]

    (echo,) = steady_state(Spins(maps.r1, maps.r2), repetition)
    assert_agrees(acquisition.magnitude(maps, transmit=transmit), echo, maps)


@SEVERAL
@given(tissues(), st.floats(0.002, 0.03), st.floats(0.02, 1.0), st.floats(5, 90), TRANSMIT)
def test_gradient_echo(maps, echo_time, rest, flip_angle, transmit):
    acquisition = GradientEcho(echo_time, echo_time + rest, flip_angle)

    def repetition(spins):
        return [train(spins, flip_angle, acquisition.repetition_time, 1, transmit, echo_time)]

    (echo,) = steady_state(Spins(maps.r1, maps.r2_star), repetition)
    assert_agrees(acquisition.magnitude(maps, transmit=transmit), echo, maps)


@FEW
@given(tissues(), st.floats(0.002, 0.01), st.floats(0.015, 0.1), st.floats(5, 40), TRANSMIT)
def test_spoiled_gradient_echo_with_magnetisation_transfer(maps, echo_time, rest, flip_angle, transmit):
    acquisition = SpoiledGradientEcho(echo_time, echo_time + rest, flip_angle)

    def repetition(spins):
        spins.scale_mz(1 - maps.mt.numpy() / 100 * transmit**2)
        return [train(spins, flip_angle, acquisition.repetition_time, 1, transmit, echo_time)]

    (echo,) = steady_state(Spins(maps.r1, maps.r2_star), repetition)
    assert_agrees(acquisition.magnitude(maps, transmit=transmit), echo, maps)


@FEW
@given(
    tissues(), st.floats(0.5, 1.2), st.floats(0.05, 2.0), st.floats(3, 15), st.floats(0.004, 0.009),
    st.integers(20, 100), st.floats(0.7, 1.0), TRANSMIT,
)  # fmt: skip
def test_mprage(maps, inversion_time, rest, flip_angle, spacing, pulses, efficiency, transmit):
    start = inversion_time - (pulses // 2) * spacing
    repetition_time = start + pulses * spacing + rest
    acquisition = Mprage(0.003, repetition_time, inversion_time, flip_angle, spacing, pulses, efficiency)

    def repetition(spins):
        spins.scale_mz(-efficiency)
        spins.wait(start)
        echo = train(spins, flip_angle, spacing, pulses, transmit, 0.003)
        spins.wait(rest)
        return [echo]

    (echo,) = steady_state(Spins(maps.r1, maps.r2_star), repetition)
    assert_agrees(acquisition.magnitude(maps, transmit=transmit), echo, maps)


@FEW
@given(
    tissues(), st.floats(0.3, 0.8), st.floats(0.05, 1.5), st.floats(0.05, 2.0),
    st.tuples(st.floats(3, 8), st.floats(3, 8)),
    st.floats(0.004, 0.008), st.integers(20, 60), st.floats(0.7, 1.0), TRANSMIT,
)  # fmt: skip
def test_mp2rage(maps, first, gap, rest, angles, spacing, pulses, efficiency, transmit):
    start, length = first - (pulses // 2) * spacing, pulses * spacing
    second = first + length + gap
    repetition_time = start + 2 * length + gap + rest
    acquisition = Mp2rage(
        0.003, repetition_time, first, second, angles[0], angles[1], spacing, pulses, efficiency
    )

    def repetition(spins):
        spins.scale_mz(-efficiency)
        spins.wait(start)
        one = train(spins, angles[0], spacing, pulses, transmit, 0.003)
        spins.wait(gap)
        two = train(spins, angles[1], spacing, pulses, transmit, 0.003)
        spins.wait(rest)
        return [one, two]

    one, two = steady_state(Spins(maps.r1, maps.r2_star), repetition)
    unified = np.real(np.conj(one) * two) / (np.abs(one) ** 2 + np.abs(two) ** 2)
    ours = acquisition.magnitude(maps, transmit=transmit).numpy()
    np.testing.assert_allclose(ours, unified + 0.5, rtol=1e-3, atol=1e-5)
