"""Refusing acquisitions that no scanner could run."""

from __future__ import annotations

import math
from itertools import pairwise

from strokelabel.errors import OptionError


def check_positive(**values: float) -> None:
    """Refuse times, counts or angles that are not finite numbers above zero.

    Raises:
        OptionError: naming the parameter.
    """
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise OptionError(f"{_words(name)}: expected a number above 0, got {value:g}; change it")


def check_fraction(**values: float) -> None:
    """Refuse what is not in (0, 1].

    Raises:
        OptionError: naming the parameter.
    """
    for name, value in values.items():
        if not 0 < value <= 1:
            raise OptionError(f"{_words(name)}: expected a number above 0 and at most 1, got {value:g}")


def check_flip_angle(**degrees: float) -> None:
    """Refuse flip angles outside (0, 180] degrees.

    Raises:
        OptionError: naming the parameter.
    """
    for name, value in degrees.items():
        if not 0 < value <= 180:
            raise OptionError(
                f"{_words(name)}: expected an angle above 0 and at most 180 degrees, got {value:g}; change it"
            )


def check_order(*events: tuple[str, float]) -> None:
    """Refuse events that do not follow each other.

    Args:
        events: (name, time in seconds), each of which must come before the next.

    Raises:
        OptionError: naming the first two that do not.
    """
    for (first, early), (second, late) in pairwise(events):
        if not early < late:
            raise OptionError(
                f"expected {first} ({early:.4g} s) to be before {second} ({late:.4g} s); "
                "times are in seconds: change one of them"
            )


def _words(name: str) -> str:
    return name.replace("_", " ")
