"""Simulated scans of the server's sample head: what it offers, and what it answers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ServerFailureError
from .json_values import as_list, as_mapping, as_number


@dataclass(frozen=True)
class Parameter:
    """A parameter of a sequence.

    Attributes:
        name: as in requests.
        title: short name for users.
        unit: "s", "degrees", "T" or "".
        kind: "number", "whole" or "flag".
        default: a number; 0 or 1 of a flag.
        low, high, step: of a slider.
    """

    name: str
    title: str = ""
    unit: str = ""
    kind: str = "number"
    default: float = 0.0
    low: float = 0.0
    high: float = 1.0
    step: float = 0.0

    def text(self, value: float) -> str:
        """Return a value with its unit, for users; times in milliseconds."""
        if self.kind == "flag":
            return "on" if value else "off"
        return f"{round(self.scale * value, 3):g}{self.suffix}"

    @property
    def scale(self) -> float:
        """Factor from values to the numbers that users see: times in milliseconds."""
        return 1000.0 if self.unit == "s" else 1.0

    @property
    def suffix(self) -> str:
        """Unit after the numbers that users see."""
        return {"s": " ms", "degrees": "°", "T": " T"}.get(self.unit, "")


@dataclass(frozen=True)
class Sequence:
    """A sequence that can be simulated.

    Attributes:
        name: as in requests; title: for users.
        equation: of its signal, as text.
        parameters: in the order of their sliders.
    """

    name: str
    title: str = ""
    equation: str = ""
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True)
class SimulationOffer:
    """Simulations that a server offers; no sequences where it offers none.

    Attributes:
        sequences: the first is the default.
        lesions: what the lesion can be made of; lesion: the default.
        field: the field strength.
    """

    sequences: tuple[Sequence, ...] = ()
    lesions: tuple[str, ...] = ()
    lesion: str = ""
    field: Parameter = Parameter("field", "Field strength", "T")

    def sequence(self, name: str) -> Sequence:
        """Return a sequence by name; the first where there is none of that name."""
        return next(
            (each for each in self.sequences if each.name == name), next(iter(self.sequences), Sequence(""))
        )


@dataclass(frozen=True)
class TissueRow:
    """Values of a tissue at the field strength.

    Attributes:
        name: "gray", "white", "csf" or "lesion".
        pd: proton density, 100 for water.
        t1_ms, t2_ms, t2_star_ms: relaxation times.
        signal: negative while the magnetisation is inverted; images show its magnitude.
    """

    name: str
    pd: float = 0.0
    t1_ms: float = 0.0
    t2_ms: float = 0.0
    t2_star_ms: float = 0.0
    signal: float = 0.0


@dataclass(frozen=True)
class Curve:
    """Signals of the tissues along one parameter.

    Attributes:
        parameter: its name.
        values: of the parameter.
        signals: of each tissue by name, one for each value.
    """

    parameter: str
    values: tuple[float, ...]
    signals: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class SimulatedScan:
    """An answer to a simulation.

    Attributes:
        picture: PNG of the slices, side by side; the patient's left is on the right of axial and coronal ones.
        white: signal that is drawn white.
        tissues: their values.
        curve: None where none was asked for.
        slices: "axial 26 mm" and so on, from left to right.
        notes: for users.
    """

    picture: bytes
    white: float = 0.0
    tissues: tuple[TissueRow, ...] = ()
    curve: Curve | None = None
    slices: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)


def read_offer(answer: Any) -> SimulationOffer:  # noqa: ANN401 - whatever /info/ holds
    """Read the entry "simulation" of GET /info/; one without sequences where there is none."""
    offer = as_mapping(answer)
    field_ = {"name": "field", "title": "Field strength", "unit": "T", **as_mapping(offer.get("field"))}
    return SimulationOffer(
        sequences=tuple(_sequence(each) for each in map(as_mapping, as_list(offer.get("sequences")))),
        lesions=tuple(map(str, as_list(offer.get("lesions")))),
        lesion=str(offer.get("lesion", "")),
        field=_parameter(field_),
    )


def read_scan(answer: Mapping[str, Any]) -> SimulatedScan:
    """Read the answer of POST /simulate.

    Raises:
        ServerFailureError: there is no picture in it.
    """
    try:
        picture = base64.b64decode(str(answer["picture"]), validate=True)
    except (KeyError, binascii.Error) as error:
        raise ServerFailureError(
            "The server answered a simulation without a picture; see its log."
        ) from error
    names = ("pd", "t1_ms", "t2_ms", "t2_star_ms", "signal")
    rows = [as_mapping(row) for row in as_list(answer.get("tissues"))]
    slices = [as_mapping(each) for each in as_list(answer.get("slices"))]
    return SimulatedScan(
        picture=picture,
        white=as_number(answer.get("white")),
        tissues=tuple(TissueRow(str(r.get("name")), *(as_number(r.get(n)) for n in names)) for r in rows),
        curve=_curve(answer.get("curve")),
        slices=tuple(f"{each.get('name')} {as_number(each.get('mm')):g} mm" for each in slices),
        notes=tuple(map(str, as_list(answer.get("notes")))),
    )


def _curve(answer: Any) -> Curve | None:  # noqa: ANN401
    curve = as_mapping(answer)
    if not curve:
        return None
    values = tuple(map(as_number, as_list(curve.get("values"))))
    signals = {
        str(name): tuple(map(as_number, as_list(listed)))
        for name, listed in as_mapping(curve.get("signals")).items()
    }
    return Curve(str(curve.get("parameter")), values, signals)


def _sequence(each: Mapping[str, Any]) -> Sequence:
    parameters = tuple(_parameter(p) for p in map(as_mapping, as_list(each.get("parameters"))))
    name = str(each.get("name", ""))
    return Sequence(name, str(each.get("title", name)), str(each.get("equation", "")), parameters)


def _parameter(each: Mapping[str, Any]) -> Parameter:
    name = str(each.get("name", ""))
    words = (str(each.get("title", name)), str(each.get("unit", "")), str(each.get("kind", "number")))
    return Parameter(name, *words, *(as_number(each.get(n)) for n in ("default", "low", "high", "step")))
