"""Commands of the simulation: choices of sequence, parameters and lesion, and the picture that follows them."""

from __future__ import annotations

from dataclasses import replace

from ..client.jobs import Job
from ..client.simulation import SimulatedScan
from ..errors import StrokeLabelLibError
from .session import Session
from .simulation_state import SimulationState


class Simulation:
    """Commands about simulated scans.

    One request runs at a time; when it is answered, the newest values are asked for, and those in between are dropped.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._asking = False
        self._changed = False

    def show(self) -> None:
        """Show the first picture, or the one of the last choices; call it when the tab opens."""
        session = self._session
        if not session.allow("simulate"):
            return
        offer, state = session.info.simulation, session.simulation
        if state.offer != offer or not state.sequence.name:
            chosen = SimulationState(offer, lesion=offer.lesion, values={"field": offer.field.default})
            session.simulation = chosen.with_sequence(offer.sequence(""))
        self._ask()

    def choose_sequence(self, name: str) -> None:
        """Take a sequence, with its default parameters."""
        state = self._session.simulation
        if name != state.sequence.name:
            self._set(state.with_sequence(state.offer.sequence(name)))

    def choose_lesion(self, name: str) -> None:
        """Say what the lesion is made of."""
        state = self._session.simulation
        if name in state.offer.lesions and name != state.lesion:
            self._set(replace(state, lesion=name))

    def set_value(self, name: str, value: float) -> None:
        """Set a parameter of the sequence, or "field".

        Args:
            name: of `SimulationState.sliders`.
            value: seconds, degrees, tesla, a whole number, or 0 and 1 of a flag.
        """
        state = self._session.simulation
        known = {each.name: each for each in state.sliders}
        if name not in known or value == state.values[name]:
            return
        drawn = name != "field" and known[name].kind != "flag"
        along = name if drawn else state.along
        self._set(replace(state, values={**state.values, name: float(value)}, along=along))

    def hold_brightness(self, on: bool) -> None:
        """Keep the brightness of the present picture, or let each have its own."""
        self._set(replace(self._session.simulation, hold=bool(on)))

    def reset(self) -> None:
        """Take the sequence's default parameters and field strength again."""
        state = self._session.simulation
        chosen = replace(state, values={"field": state.offer.field.default}, resets=state.resets + 1)
        self._set(chosen.with_sequence(state.sequence))

    def _set(self, state: SimulationState) -> None:
        self._session.simulation = state
        self._session.render()
        self._ask()

    def _ask(self) -> None:
        session, client = self._session, self._session.client
        if client is None or not session.simulation.sequence.name:
            return
        if self._asking:
            self._changed = True
            return
        self._asking, self._changed = True, False
        request = session.simulation.request

        def work(job: Job) -> SimulatedScan:
            return client.simulate(request, job)

        # not by `Session.run`, which drops answers when another scan was opened meanwhile
        session.runner.run(Job("Simulating"), work, self._answered, self._failed)

    def _answered(self, scan: SimulatedScan) -> None:
        self._finish(replace(self._session.simulation, scan=scan, problem=""))

    def _failed(self, error: StrokeLabelLibError) -> None:
        self._finish(replace(self._session.simulation, problem=str(error)))

    def _finish(self, state: SimulationState) -> None:
        self._asking = False
        self._session.simulation = state
        self._session.render()
        if self._changed:
            self._ask()
