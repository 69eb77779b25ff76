"""Usual ranges of the sequences' parameters, for sliders."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from strokelabel.physics.presets import sequence_class

_TITLES = {
    "echo_time": ("TE", "s"),
    "repetition_time": ("TR", "s"),
    "inversion_time": ("TI", "s"),
    "inversion_time_1": ("TI1", "s"),
    "inversion_time_2": ("TI2", "s"),
    "flip_angle": ("Flip angle", "degrees"),
    "flip_angle_1": ("Flip angle 1", "degrees"),
    "flip_angle_2": ("Flip angle 2", "degrees"),
    "excitation_spacing": ("Excitation spacing", "s"),
    "excitations": ("Excitations", ""),
    "inversion_efficiency": ("Inversion efficiency", ""),
    "mt_pulse": ("MT pulse", ""),
}
"""Short name and unit of each parameter."""

_EFFICIENCY = (0.5, 1.0, 0.01)
_TRAIN = {
    "echo_time": (0.002, 0.006, 0.0005),
    "excitation_spacing": (0.004, 0.01, 0.0005),
    "excitations": (64, 256, 8),
    "inversion_efficiency": _EFFICIENCY,
}
_RANGES: dict[str, dict[str, tuple[float, float, float]]] = {
    "fse": {"echo_time": (0.005, 0.3, 0.005), "repetition_time": (0.2, 10, 0.1)},
    "gre": {
        "echo_time": (0.002, 0.08, 0.001),
        "repetition_time": (0.01, 3, 0.01),
        "flip_angle": (1, 90, 1),
    },
    "spgr": {
        "echo_time": (0.001, 0.04, 0.001),
        "repetition_time": (0.005, 0.2, 0.005),
        "flip_angle": (1, 90, 1),
    },
    "flair": {
        "echo_time": (0.01, 0.3, 0.005),
        "repetition_time": (2, 12, 0.1),
        "inversion_time": (0.1, 4, 0.02),
        "inversion_efficiency": _EFFICIENCY,
    },
    "mprage": {
        **_TRAIN,
        "repetition_time": (1.5, 4, 0.05),
        "inversion_time": (0.64, 1.6, 0.02),
        "flip_angle": (1, 20, 0.5),
    },
    "mp2rage": {
        **_TRAIN,
        "repetition_time": (3.4, 8, 0.1),
        "inversion_time_1": (0.64, 1.2, 0.02),
        "inversion_time_2": (1.8, 4, 0.05),
        "flip_angle_1": (1, 12, 0.5),
        "flip_angle_2": (1, 12, 0.5),
    },
}
"""Lowest and highest value and step; the default of every sequence lies in its ranges."""


@dataclass(frozen=True)
class ParameterRange:
    """A parameter of a sequence.

    Attributes:
        name: as in the sequence.
        title: short name for users.
        unit: "s", "degrees" or "".
        kind: "number", "whole" (a whole number) or "flag" (yes or no).
        default: a bool for a flag.
        low, high, step: of a slider; 0 for a flag. Other values may be possible too.
    """

    name: str
    title: str
    unit: str
    kind: str
    default: float
    low: float
    high: float
    step: float


def parameter_ranges(sequence: str) -> tuple[ParameterRange, ...]:
    """Return the parameters of a sequence, in the order of its class.

    Raises:
        OptionError: no sequence of that name.
    """
    kind = sequence_class(sequence)
    return tuple(_range(sequence, field.name, field.default) for field in fields(kind))


def _range(sequence: str, name: str, default: Any) -> ParameterRange:  # noqa: ANN401 - a number or a flag
    is_flag = isinstance(default, bool)
    kind = "flag" if is_flag else "whole" if isinstance(default, int) else "number"
    low, high, step = (0.0, 0.0, 0.0) if is_flag else _RANGES[sequence][name]
    title, unit = _TITLES[name]
    return ParameterRange(name, title, unit, kind, default, low, high, step)
