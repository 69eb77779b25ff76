"""Options of Segment: fields from what the server offers, and the values that reach it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from StrokeLabelLib.client.answers import ModelInfo
from StrokeLabelLib.errors import StrokeLabelLibError
from StrokeLabelLib.session.options import CHOSEN_ELSEWHERE, chosen_options, option_fields
from StrokeLabelLib.session.presenter import Presenter
from StrokeLabelLib.volume import Volume

from support.fake_view import FakeView, make_presenter
from support.small_server import Store, serving
from support.walk_data import AFFINES, scan_and_lesion

SCAN = "sub-1_T1w"
CONFIG: dict[str, Any] = {
    "device": ["cpu"],
    "tta": False,
    "threshold": ["likeliest class", "0.2", "0.5"],
    "min_size_ml": 0.0,
    "ct_low": 0,
    "result": ["mask", "probability"],
    "odd": {"a": 1},
}
TASK = ModelInfo("segment", options=CONFIG)


@pytest.fixture
def store() -> Store:
    return Store({SCAN: Volume(scan_and_lesion(AFFINES["LIA"])[0], AFFINES["LIA"])}, config=CONFIG)


@pytest.fixture
def opened(tmp_path: Path, store: Store) -> Iterator[tuple[Presenter, FakeView]]:
    with serving(store) as url:
        presenter, view, _ = make_presenter(tmp_path)
        presenter.connection.connect(url)
        presenter.cases.open(SCAN)
        yield presenter, view


def test_the_fields_are_what_the_server_offers_with_its_defaults() -> None:
    fields = option_fields(TASK, {"tta": True}, CHOSEN_ELSEWHERE)
    assert [(f.name, f.kind, f.value, f.default) for f in fields] == [
        ("device", "choice", "cpu", "cpu"),
        ("tta", "flag", True, False),
        ("threshold", "choice", "likeliest class", "likeliest class"),
        ("min_size_ml", "number", 0.0, 0.0),
        ("ct_low", "number", 0, 0),
    ]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("tta", True, {"tta": True}),
        ("tta", False, {}),
        ("threshold", "0.2", {"threshold": "0.2"}),
        ("threshold", "likeliest class", {}),
        ("min_size_ml", " 0,5 ", {"min_size_ml": 0.5}),
        ("min_size_ml", "", {}),
        ("ct_low", "0", {}),
    ],
)
def test_only_what_differs_from_the_default_is_kept(
    name: str, value: object, expected: dict[str, Any]
) -> None:
    assert chosen_options(TASK, {}, name, value) == expected
    assert chosen_options(TASK, {name: "before"}, name, value) == expected


@pytest.mark.parametrize(("name", "value"), [("min_size_ml", "much"), ("threshold", "0.21"), ("speed", 1)])
def test_what_the_task_does_not_take_is_refused_in_a_sentence(name: str, value: object) -> None:
    with pytest.raises(StrokeLabelLibError, match=name.replace("_", "[_ ]")):
        chosen_options(TASK, {}, name, value)


def test_chosen_options_reach_the_server_with_the_mask_the_probability_and_the_overlays(
    opened: tuple[Presenter, FakeView], store: Store
) -> None:
    presenter, view = opened
    presenter.segmentation.set_option("threshold", "0.2")
    presenter.segmentation.set_option("min_size_ml", "0.5")
    assert {f.name: f.value for f in view.state.options}["threshold"] == "0.2"
    presenter.segmentation.segment()
    presenter.overlays.show("uncertainty")
    asked = [(p.get("result"), p["threshold"], p["min_size_ml"]) for p in store.params]
    assert asked == [(None, "0.2", 0.5), ("probability", "0.2", 0.5), ("uncertainty", "0.2", 0.5)]
    assert view.state.threshold == 0.2
    case = presenter.session.case
    assert case is not None
    assert case.provenance.model["options"] == {"threshold": "0.2", "min_size_ml": 0.5}


def test_options_belong_to_their_task_and_a_wrong_value_changes_nothing(
    opened: tuple[Presenter, FakeView], store: Store
) -> None:
    presenter, view = opened
    presenter.segmentation.set_option("tta", True)
    presenter.segmentation.set_option("min_size_ml", "much")
    assert "expected a number" in view.errors[-1]
    presenter.overlays.show("tissues")
    assert "tta" not in store.params[-1]  # another task, which does not offer it
    presenter.segmentation.segment()
    assert next(p for p in store.params if p["model"] == "segment")["tta"] is True
    presenter.segmentation.set_option("tta", False)
    presenter.segmentation.segment()
    assert "tta" not in store.params[-1]
