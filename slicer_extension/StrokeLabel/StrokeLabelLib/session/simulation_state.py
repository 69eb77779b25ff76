"""State of the simulation: the choices, and the last picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..client.simulation import Parameter, Sequence, SimulatedScan, SimulationOffer


@dataclass(frozen=True)
class SimulationState:
    """State of the simulation, for the view; without sequences until `Simulation.show` was called.

    Attributes:
        offer: what the server offers.
        sequence: the chosen one.
        lesion: what the lesion is made of.
        values: of the sequence's parameters and of "field".
        along: name of the parameter that was changed last, along which the signals are drawn.
        resets: how often the values were reset to the defaults, so that sliders know that they must move.
        hold: whether the brightness stays while parameters change.
        scan: the last picture; None before the first.
        problem: why there is none for the present values; "" if there is, or if it is on its way.
    """

    offer: SimulationOffer = field(default_factory=SimulationOffer)
    sequence: Sequence = field(default_factory=lambda: Sequence(""))
    lesion: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    along: str = ""
    resets: int = 0
    hold: bool = False
    scan: SimulatedScan | None = None
    problem: str = ""

    @property
    def sliders(self) -> tuple[Parameter, ...]:
        """The sequence's parameters, and the field strength."""
        return (*self.sequence.parameters, self.offer.field) if self.sequence.name else ()

    @property
    def request(self) -> dict[str, Any]:
        """Body of the request."""
        parameters = {each.name: _sent(each, self.values[each.name]) for each in self.sequence.parameters}
        asked = {
            "sequence": self.sequence.name,
            "parameters": parameters,
            "lesion": self.lesion,
            "along": self.along,
            "field": self.values["field"],
        }
        return asked | ({"white": self.scan.white} if self.hold and self.scan is not None else {})

    def with_sequence(self, sequence: Sequence) -> SimulationState:
        """Return the state with a sequence, its defaults, and signals along its inversion or echo time."""
        values = {"field": self.values["field"], **{each.name: each.default for each in sequence.parameters}}
        names = [each.name for each in sequence.parameters if each.kind != "flag"]
        along = next((name for name in names if name.startswith("inversion_time")), next(iter(names), ""))
        return replace(self, sequence=sequence, values=values, along=along, problem="")


def _sent(parameter: Parameter, value: float) -> float | bool:
    return bool(value) if parameter.kind == "flag" else round(value, 6)
