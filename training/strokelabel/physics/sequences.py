"""Sequences by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from strokelabel.errors import OptionError
from strokelabel.physics.acquisition import Acquisition
from strokelabel.physics.flair import Flair
from strokelabel.physics.gradient_echo import GradientEcho, SpoiledGradientEcho
from strokelabel.physics.mp2rage import Mp2rage
from strokelabel.physics.mprage import Mprage
from strokelabel.physics.spin_echo import FastSpinEcho

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
