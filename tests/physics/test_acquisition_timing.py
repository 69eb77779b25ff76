"""Acquisitions that no scanner could run are refused, in words; possible ones say what they are."""

from __future__ import annotations

import json

import pytest

from strokelabel.errors import OptionError
from strokelabel.physics import (
    SEQUENCES,
    FastSpinEcho,
    Flair,
    GradientEcho,
    Mp2rage,
    Mprage,
    SpoiledGradientEcho,
    make_acquisition,
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FastSpinEcho(0.5, 0.5), "the echo time .* before the repetition time"),
        (lambda: FastSpinEcho(100, 4000.0 / 1000), "times are in seconds"),
        (lambda: GradientEcho(0.03, 0.02), "the echo time"),
        (lambda: SpoiledGradientEcho(0.03, 0.02), "the echo time"),
        (lambda: Flair(inversion_time=9.5), "the echo after it .* before the repetition time"),
        (lambda: Flair(0.12, 2.6, 2.5), "the echo after it"),
        (
            lambda: Flair(inversion_efficiency=1.1),
            "inversion efficiency: expected a number above 0 and at most 1",
        ),
        (lambda: Mprage(inversion_time=0.3), "the inversion .* before the first excitation"),
        (lambda: Mprage(repetition_time=1.4), "the end of the readout train .* before the repetition time"),
        (lambda: Mprage(echo_time=0.008), "the next excitation"),
        (lambda: Mprage(excitations=0), "excitations: expected a number above 0"),
        (lambda: Mp2rage(inversion_time_2=1.5), "the first excitation of the second readout"),
        (lambda: Mp2rage(repetition_time=2.6), "the end of the second readout"),
        (lambda: Mp2rage(flip_angle_2=200), "flip angle 2: expected an angle"),
    ],
)
def test_impossible_timings_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", SEQUENCES)
def test_times_that_are_no_positive_numbers_are_refused(name, value):
    with pytest.raises(OptionError, match="echo time: expected a number above 0"):
        make_acquisition(name, {"echo_time": value})


@pytest.mark.parametrize("angle", [0.0, -5.0, 181.0, float("nan")])
@pytest.mark.parametrize("kind", [GradientEcho, SpoiledGradientEcho, Mprage])
def test_impossible_flip_angles_are_refused(kind, angle):
    with pytest.raises(OptionError, match="flip angle: expected an angle"):
        kind(flip_angle=angle)


def test_unknown_sequences_and_parameters_are_refused_with_what_there_is():
    with pytest.raises(OptionError, match="fse, gre, spgr, flair, mprage, mp2rage, got 'epi'"):
        make_acquisition("epi")
    with pytest.raises(
        OptionError, match="expected parameters of echo_time, repetition_time, got flip_angle"
    ):
        make_acquisition("fse", {"flip_angle": 90})


@pytest.mark.parametrize("name", SEQUENCES)
def test_parameters_survive_json_and_bids_names_hold_seconds_and_degrees(name):
    acquisition = SEQUENCES[name]()
    again = make_acquisition(name, json.loads(json.dumps(acquisition.parameters())))
    assert again == acquisition
    bids = json.loads(json.dumps(acquisition.bids()))
    assert bids["EchoTime"] == acquisition.echo_time
    assert bids["RepetitionTime"] == acquisition.repetition_time
    assert ("InversionTime" in bids) == (name in ("flair", "mprage", "mp2rage"))
    assert ("FlipAngle" in bids) == (name not in ("fse", "flair"))
