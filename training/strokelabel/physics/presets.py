"""Sequences by name, and presets of their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal, get_type_hints

from strokelabel.errors import OptionError
from strokelabel.physics.acquisition import Acquisition
from strokelabel.physics.distributions import (
    Distribution,
    Fixed,
    LogNormal,
    LogUniform,
    Normal,
    RandomSource,
    Reflected,
    Uniform,
)
from strokelabel.physics.gradient_echo import GradientEcho, SpoiledGradientEcho
from strokelabel.physics.mprage import Mp2rage, Mprage
from strokelabel.physics.spin_echo import FastSpinEcho, Flair

SEQUENCES: dict[str, type[Acquisition]] = {
    kind.name: kind for kind in (FastSpinEcho, GradientEcho, SpoiledGradientEcho, Flair, Mprage, Mp2rage)
}
"""Every sequence that can be simulated."""


def sequence_class(name: str) -> type[Acquisition]:
    """Look up a sequence.

    Raises:
        OptionError: no sequence of that name.
    """
    try:
        return SEQUENCES[name]
    except KeyError:
        raise OptionError(
            f"expected a sequence of {', '.join(SEQUENCES)}, got {name!r}; choose one of them"
        ) from None


def make_acquisition(name: str, parameters: Mapping[str, Any] | None = None) -> Acquisition:
    """Make an acquisition from its name and the parameters that differ from its defaults.

    Raises:
        OptionError: no such sequence, a parameter that it does not have, or an impossible value.
    """
    kind, given = sequence_class(name), dict(parameters or {})
    known = [field.name for field in fields(kind)]
    unknown = [key for key in given if key not in known]
    if unknown:
        raise OptionError(
            f"{kind.title}: expected parameters of {', '.join(known)}, got {', '.join(unknown)}; leave them out"
        )
    return kind(**given)


PresetName = Literal["paper", "clinical"]

_MOST_DRAWS = 10_000
"""Largest number of draws: the least likely preset is possible in a third of them, so more failures are a mistake."""


@dataclass(frozen=True)
class Protocol:
    """Distribution of the parameters of a kind of scan.

    Attributes:
        sequence: name of a sequence.
        parameters: distribution of each of its parameters that is not left at its default.
    """

    sequence: str
    parameters: Mapping[str, Distribution]


PAPER: dict[str, Protocol] = {
    # Of the sequences, the paper lists FSE, GRE, FLAIR and MPRAGE; its code has two more, all equally likely.
    "fse": Protocol("fse", {"echo_time": LogUniform(0.001, 3), "repetition_time": LogUniform(0.001, 3)}),
    "gre": Protocol(
        "gre",
        {
            "echo_time": LogUniform(0.002, 0.08),
            "repetition_time": LogUniform(0.005, 5),
            "flip_angle": Uniform(5, 50),
        },
    ),
    "spgr": Protocol(
        "spgr",
        {
            "echo_time": LogUniform(0.002, 0.08),
            "repetition_time": LogUniform(0.005, 0.8),
            "flip_angle": Uniform(5, 50),
        },
    ),
    # The paper prints a deviation of log10(0.1), which is negative; its code has 0.1 decades.
    "flair": Protocol(
        "flair",
        {
            "echo_time": LogNormal(0.02, 0.1),
            "repetition_time": LogUniform(0.001, 5),
            "inversion_time": LogUniform(0.001, 3),
        },
    ),
    # The paper prints a repetition time of 23 s; its code has 2.3 s. Train and efficiency are in the code only.
    "mprage": Protocol(
        "mprage",
        {
            "echo_time": Uniform(0.002, 0.004),
            "repetition_time": Normal(2.3, 0.23),
            "inversion_time": Uniform(0.6, 0.9),
            "flip_angle": Uniform(5, 12),
            "excitation_spacing": Uniform(0.004, 0.008),
            "excitations": Normal(160, 16),
            "inversion_efficiency": Reflected(0.96, 0.096, 1.0),
        },
    ),
    # The code's repetition time of 2.3 s cannot hold its second readout at 2.2 s; 6.25 s: Marques et al. 2010.
    "mp2rage": Protocol(
        "mp2rage",
        {
            "echo_time": LogNormal(0.0029, 0.5),
            "repetition_time": Normal(6.25, 0.6),
            "inversion_time_1": Uniform(0.6, 0.9),
            "inversion_time_2": Fixed(2.2),
            "flip_angle_1": Uniform(3, 6),
            "flip_angle_2": Uniform(3, 6),
            "excitation_spacing": LogNormal(0.0058, 0.5),
            "excitations": Normal(160, 16),
            "inversion_efficiency": Reflected(0.96, 0.096, 1.0),
        },
    ),
}
"""Parameters of qSynth (its section 2.3), with the corrections noted above."""

CLINICAL: dict[str, Protocol] = {
    "t1-mprage": Protocol(
        "mprage",
        {
            "echo_time": Uniform(0.002, 0.0045),
            "repetition_time": Uniform(1.8, 2.5),
            "inversion_time": Uniform(0.8, 1.1),
            "flip_angle": Uniform(7, 10),
            "excitation_spacing": Uniform(0.006, 0.009),
            "excitations": Uniform(128, 192),
            "inversion_efficiency": Uniform(0.9, 1.0),
        },
    ),
    "t1-mp2rage": Protocol(
        "mp2rage",
        {
            "echo_time": Uniform(0.002, 0.004),
            "repetition_time": Uniform(4.0, 6.25),
            "inversion_time_1": Uniform(0.65, 0.9),
            "inversion_time_2": Uniform(2.2, 2.75),
            "flip_angle_1": Uniform(4, 7),
            "flip_angle_2": Uniform(4, 6),
            "excitation_spacing": Uniform(0.0055, 0.0075),
            "excitations": Uniform(128, 176),
            "inversion_efficiency": Uniform(0.9, 1.0),
        },
    ),
    "t1-spgr": Protocol(
        "spgr",
        {
            "echo_time": Uniform(0.002, 0.008),
            "repetition_time": Uniform(0.012, 0.03),
            "flip_angle": Uniform(15, 30),
            "mt_pulse": Fixed(False),
        },
    ),
    "t1-fse": Protocol("fse", {"echo_time": Uniform(0.008, 0.02), "repetition_time": Uniform(0.4, 0.75)}),
    "t2-fse": Protocol("fse", {"echo_time": Uniform(0.08, 0.13), "repetition_time": Uniform(3.0, 7.0)}),
    "pd-fse": Protocol("fse", {"echo_time": Uniform(0.01, 0.035), "repetition_time": Uniform(2.0, 4.0)}),
    "flair": Protocol(
        "flair",
        {
            "echo_time": Uniform(0.08, 0.15),
            "repetition_time": Uniform(8.5, 9.5),
            "inversion_time": Uniform(2.4, 2.55),
            "inversion_efficiency": Uniform(0.98, 1.0),
        },
    ),
    "t2star-gre": Protocol(
        "gre",
        {
            "echo_time": Uniform(0.015, 0.03),
            "repetition_time": Uniform(0.4, 0.9),
            "flip_angle": Uniform(12, 25),
        },
    ),
}
"""Ours: usual ranges of stroke and research protocols at 3 T; the inversion times of FLAIR null fluid."""

PRESETS: dict[PresetName, dict[str, Protocol]] = {"paper": PAPER, "clinical": CLINICAL}


def find_protocol(preset: PresetName, name: str) -> Protocol:
    """Look up a protocol of a preset.

    Raises:
        OptionError: no such preset or protocol.
    """
    protocols = PRESETS.get(preset)
    if protocols is None or name not in protocols:
        known = "; ".join(f"{key}: {', '.join(values)}" for key, values in PRESETS.items())
        raise OptionError(f"expected a protocol of these presets ({known}), got {preset} {name!r}")
    return protocols[name]


def draw_acquisition(source: RandomSource, protocol: Protocol) -> Acquisition:
    """Draw the parameters of a scan; impossible draws are drawn again.

    Raises:
        OptionError: the protocol is (almost) never possible.
    """
    kind, whole = sequence_class(protocol.sequence), _whole_numbers(protocol.sequence)
    for _ in range(_MOST_DRAWS):
        values: dict[str, Any] = {
            key: whole.get(key, float)(distribution.draw(source))
            for key, distribution in protocol.parameters.items()
        }
        try:
            return kind(**values)
        except OptionError as error:
            reason = error
    raise OptionError(f"expected a protocol that is possible at times, got none in {_MOST_DRAWS}: {reason}")


@cache
def _whole_numbers(sequence: str) -> dict[str, Any]:
    """Return the conversion of a draw, for the parameters of a sequence that are not floating-point."""
    kind = sequence_class(sequence)
    hints = get_type_hints(kind)
    converters: dict[type, Any] = {int: round, bool: bool}
    return {f.name: converters[hints[f.name]] for f in fields(kind) if hints[f.name] in converters}
