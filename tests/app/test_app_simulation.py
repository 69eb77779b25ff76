"""Simulated scans of the sample head: what /info/ offers, what POST /simulate answers, and what it refuses."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib.infers.simulation import Simulator, simulation_offer
from lib.refusals import InvalidRequestError
from strokelabel.errors import OptionError
from support.app_server import Server

server_test = pytest.mark.server
pytestmark = pytest.mark.xdist_group("monailabel-server")

NULL_S = 2.47
"""Inversion time at which fluid has no signal on a FLAIR with the default TR and TE, about."""


def pixels(answer: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["picture"]))))


def signal(answer: dict[str, Any], tissue: str) -> float:
    (row,) = [row for row in answer["tissues"] if row["name"] == tissue]
    return float(row["signal"])


def flair(inversion_time: float, **more: Any) -> dict[str, Any]:
    return Simulator().answer({"parameters": {"inversion_time": inversion_time}, **more})


def test_fluid_goes_through_its_null_as_the_inversion_time_grows_and_the_ventricles_are_black_there() -> None:
    inverted, null, recovered = (flair(ti) for ti in (1.8, NULL_S, 3.2))
    assert signal(inverted, "csf") < -10 < abs(signal(null, "csf")) < 0.5 and signal(recovered, "csf") > 10
    # the brightest tenth at TI 1.8 s is fluid
    fluid = pixels(inverted) >= 240
    assert fluid.sum() > 200 and pixels(null)[fluid].mean() < 25
    assert {row["name"]: row["t1_ms"] for row in null["tissues"]}["csf"] == pytest.approx(4308, abs=1)


def test_the_curve_along_a_slider_is_that_of_the_sequence_and_leaves_out_impossible_values() -> None:
    curve = flair(NULL_S, along="inversion_time")["curve"]
    nearest = int(np.argmin(np.abs(np.array(curve["values"]) - NULL_S)))
    assert curve["signals"]["csf"][0] < -50 and abs(curve["signals"]["csf"][nearest]) < 1.5
    assert len(curve["values"]) == len(curve["signals"]["gray"]) == 65
    short = Simulator().answer({"parameters": {"repetition_time": 3.0}, "along": "inversion_time"})["curve"]
    assert max(short["values"]) < 2.88 < max(curve["values"])


def test_field_strength_and_lesion_change_the_tissues_and_a_given_white_keeps_the_brightness() -> None:
    weak, strong = flair(NULL_S, field=0.5), flair(NULL_S, field=7)
    t1 = {a["name"]: b["t1_ms"] / a["t1_ms"] for a, b in zip(weak["tissues"], strong["tissues"], strict=True)}
    assert t1["gray"] == pytest.approx(14**0.38, rel=0.01) and t1["csf"] == pytest.approx(1)
    assert strong["notes"] and not weak["notes"]
    healthy, acute = flair(NULL_S, lesion="none"), flair(NULL_S, lesion="lesion-acute")
    assert signal(healthy, "lesion") == signal(healthy, "white") < signal(acute, "lesion")
    bright = flair(NULL_S, white=2 * acute["white"])
    assert pixels(bright).mean() == pytest.approx(pixels(acute).mean() / 2, rel=0.02)


@pytest.mark.parametrize("each", simulation_offer()["sequences"], ids=lambda each: each["name"])
def test_every_sequence_that_is_offered_is_answered_with_its_equation(each: dict[str, Any]) -> None:
    defaults = {p["name"]: p["default"] for p in each["parameters"]}
    answer = Simulator().answer({"sequence": each["name"], "parameters": defaults})
    assert answer["equation"] == each["equation"] and answer["parameters"] == defaults
    assert pixels(answer).ndim == 2 and 30 < pixels(answer).max() <= 255


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"sequence": "epi"}, "sequence: expected one of flair"),
        ({"sequence": ["flair"], "parameters": [1]}, "parameters: expected an object"),
        ({"parameters": {"flip_angle": 9}}, "parameters: expected names of echo_time"),
        ({"parameters": {"echo_time": "soon"}}, "echo_time: expected a number"),
        ({"sequence": "mprage", "parameters": {"excitations": 2.5}}, "excitations: expected a whole number"),
        ({"parameters": {"echo_time": -1}}, "echo time: expected a number above 0"),
        ({"parameters": {"inversion_time": 9}}, "before the repetition time"),
        ({"field": 21}, "field: expected 0.2 to 7 T"),
        ({"lesion": "tumour"}, "lesion: expected one of none"),
        ({"along": "flip_angle"}, "along: expected one of"),
        ({"white": -1}, "white: expected"),
        ({"path": "/etc"}, "path: expected one of sequence"),
        ({"parameters": {"x" * 10_000: 1}}, "parameters: expected names"),
    ],
)
def test_what_is_not_possible_is_refused_in_a_sentence(request_: dict[str, Any], said: str) -> None:
    with pytest.raises((InvalidRequestError, OptionError), match=said.replace(".", r"\.")) as refused:
        Simulator().answer(request_)
    assert len(str(refused.value)) < 400


@server_test
def test_the_server_offers_and_answers_simulations(server: Server) -> None:
    offer = server.get("/info/").json()["simulation"]
    assert offer == simulation_offer()
    answer = server.post("/simulate", json={"sequence": "fse", "lesion": "lesion-cavity"})
    assert answer.status_code == 200 and pixels(answer.json()).shape == (174, 532)
    again = [server.post("/simulate", json={"along": "echo_time"}).elapsed.total_seconds() for _ in range(3)]
    assert min(again) < 0.5
    refused = server.post("/simulate", json={"field": 21})
    assert refused.status_code == 400 and "0.2 to 7 T" in refused.json()["detail"]
    assert server.post("/simulate", json=[1]).status_code == 422
    assert server.post("/simulate", data="{", headers={"Content-Type": "application/json"}).status_code == 400
