"""The simulation in the library: the offer, one request at a time with the newest values, and refusals."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from StrokeLabelLib.client.api import Client
from StrokeLabelLib.client.jobs import Done, Failed, Job, Work
from StrokeLabelLib.client.simulation import Parameter, SimulationOffer, read_offer, read_scan
from StrokeLabelLib.errors import ServerFailureError
from StrokeLabelLib.session.presenter import Presenter
from StrokeLabelLib.session.settings import Settings

from support.fake_view import FakeView, make_presenter
from support.small_server import SIMULATION, Store, serving


@pytest.fixture
def store() -> Store:
    return Store({}, simulation=SIMULATION)


@pytest.fixture
def simulating(tmp_path: Path, store: Store) -> Iterator[tuple[Presenter, FakeView]]:
    with serving(store) as url:
        presenter, view, _ = make_presenter(tmp_path)
        presenter.connection.connect(url)
        yield presenter, view


def test_the_tab_opens_with_the_first_sequence_and_its_picture(
    simulating: tuple[Presenter, FakeView], store: Store
) -> None:
    presenter, view = simulating
    presenter.simulation.show()
    state = view.state.simulation
    assert (state.sequence.name, state.lesion, state.along) == ("flair", "lesion-acute", "inversion_time")
    assert [each.name for each in state.sliders] == ["echo_time", "inversion_time", "field"]
    assert state.scan is not None and state.scan.picture == b"flair" and state.problem == ""
    assert store.simulated == [
        {
            "sequence": "flair",
            "parameters": {"echo_time": 0.12, "inversion_time": 2.5},
            "lesion": "lesion-acute",
            "along": "inversion_time",
            "field": 3.0,
        }
    ]


def test_values_sequences_and_lesions_reach_the_server_and_unknown_ones_do_not(
    simulating: tuple[Presenter, FakeView], store: Store
) -> None:
    presenter, view = simulating
    simulation = presenter.simulation
    simulation.show()
    simulation.set_value("inversion_time", 2.0)
    simulation.set_value("field", 1.5)
    assert (store.simulated[-1]["parameters"]["inversion_time"], store.simulated[-1]["field"]) == (2.0, 1.5)
    assert store.simulated[-1]["along"] == "inversion_time"
    simulation.choose_lesion("none")
    simulation.choose_sequence("spgr")
    last = store.simulated[-1]
    assert (last["sequence"], last["lesion"], last["along"], last["field"]) == (
        "spgr",
        "none",
        "flip_angle",
        1.5,
    )
    assert last["parameters"] == {"flip_angle": 20.0, "mt_pulse": True}
    simulation.set_value("mt_pulse", 0)
    assert store.simulated[-1]["parameters"]["mt_pulse"] is False
    asked = len(store.simulated)
    simulation.set_value("inversion_time", 1.0)
    simulation.choose_lesion("tumour")
    simulation.choose_sequence("spgr")
    assert len(store.simulated) == asked
    simulation.reset()
    assert view.state.simulation.values == {"field": 3.0, "flip_angle": 20.0, "mt_pulse": 1.0}


def test_the_brightness_stays_while_it_is_held(simulating: tuple[Presenter, FakeView], store: Store) -> None:
    presenter, _ = simulating
    presenter.simulation.show()
    presenter.simulation.hold_brightness(True)
    presenter.simulation.set_value("inversion_time", 2.0)
    assert store.simulated[-1]["white"] == 14.0
    presenter.simulation.hold_brightness(False)
    assert "white" not in store.simulated[-1]


def test_a_refusal_is_told_and_the_last_picture_stays_until_values_are_possible_again(
    simulating: tuple[Presenter, FakeView], store: Store
) -> None:
    presenter, view = simulating
    presenter.simulation.show()
    store.refuse["/simulate"] = (400, "expected the echo to be before the repetition time")
    presenter.simulation.set_value("echo_time", 20.0)
    state = view.state.simulation
    assert "before the repetition time" in state.problem and state.scan is not None
    assert view.errors == []  # a dialog at each step of a slider would be in the way
    store.refuse.clear()
    presenter.simulation.set_value("echo_time", 0.1)
    assert view.state.simulation.problem == ""


def test_a_server_without_simulations_says_why_the_tab_stays_closed(tmp_path: Path) -> None:
    with serving(Store({})) as url:
        presenter, view, _ = make_presenter(tmp_path)
        presenter.connection.connect(url)
        assert "newer StrokeLabel" in view.state.blocked["simulate"]
        presenter.simulation.show()
        assert "newer StrokeLabel" in view.errors[-1] and view.state.simulation.scan is None


class SlowRunner:
    """Keeps work until the test lets it go."""

    def __init__(self) -> None:
        self.kept: list[Callable[[], None]] = []

    def run(self, job: Job, work: Work, done: Done, failed: Failed) -> None:
        self.kept.append(lambda: done(work(job)))


class Recorder:
    """A client that knows which simulations it was asked for."""

    url = "http://127.0.0.1:1"

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def simulate(self, request: dict[str, Any], job: Job) -> Any:
        self.asked.append(request)
        return read_scan({"picture": base64.b64encode(b"x").decode()})


def test_while_one_picture_is_on_its_way_only_the_newest_values_wait(tmp_path: Path) -> None:
    runner, client = SlowRunner(), Recorder()
    presenter = Presenter(FakeView(), runner, Settings(client_id="r"), tmp_path, make_client=Client)
    presenter.session.client = client  # type: ignore[assignment]
    presenter.session.info = type(presenter.session.info)(simulation=read_offer(SIMULATION))
    presenter.simulation.show()
    for milliseconds in (2000, 2100, 2200, 2300):
        presenter.simulation.set_value("inversion_time", milliseconds / 1000)
    assert len(runner.kept) == 1
    runner.kept.pop()()
    assert len(runner.kept) == 1
    runner.kept.pop()()
    assert runner.kept == []
    assert [r["parameters"]["inversion_time"] for r in client.asked] == [2.5, 2.3]


@pytest.mark.parametrize("answer", [None, 7, {}, {"sequences": "all"}, {"sequences": [], "field": []}])
def test_an_offer_of_another_form_offers_nothing(answer: Any) -> None:
    assert read_offer(answer).sequences == () and read_offer(answer).sequence("flair").name == ""


def test_an_answer_without_a_picture_is_a_fault_of_the_server() -> None:
    for answer in ({}, {"picture": "not base64!"}):
        with pytest.raises(ServerFailureError, match="without a picture"):
            read_scan(answer)


@pytest.mark.parametrize(
    ("unit", "kind", "value", "text"),
    [
        ("s", "number", 0.0025, "2.5 ms"),
        ("s", "number", 2.48, "2480 ms"),
        ("degrees", "number", 20.0, "20°"),
        ("T", "number", 1.5, "1.5 T"),
        ("", "whole", 176.0, "176"),
        ("", "flag", 1.0, "on"),
    ],
)
def test_values_are_shown_with_their_units(unit: str, kind: str, value: float, text: str) -> None:
    assert Parameter("p", unit=unit, kind=kind).text(value) == text


def test_the_offer_names_its_defaults() -> None:
    assert SimulationOffer().field.unit == "T"
    offer = read_offer(SIMULATION)
    assert offer.sequence("spgr").parameters[1].kind == "flag" and offer.sequence("?").name == "flair"
