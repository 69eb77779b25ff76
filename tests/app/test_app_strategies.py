"""Which scan is offered next, and to whom: the strategies with a real datastore."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.refusals import InvalidRequestError, UnknownNameError
from lib.scoring.uncertainty import UncertaintyRecord, file_stamp, read_record
from lib.strategies import SampleStrategy, make_strategies
from lib.studies.datastore import StudiesDatastore
from support.app_scans import head, save

STRATEGIES = sorted(make_strategies())
Cohort = Callable[..., StudiesDatastore]


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """Makes a datastore of scans with these names."""

    def make(*names: str) -> StudiesDatastore:
        for name in names:
            save(tmp_path / f"studies/{name}.nii.gz", head())
        return StudiesDatastore(str(tmp_path / "studies"))

    return make


def ask(strategy: str, datastore: StudiesDatastore, **options: Any) -> str | None:
    """The id that a new instance of a strategy, such as after a restart, answers with."""
    chosen: SampleStrategy = make_strategies()[strategy]
    answer = chosen({"strategy": strategy, **options}, datastore)
    return answer["id"] if answer else None


def score(
    datastore: StudiesDatastore,
    image: str,
    value: float | None,
    descriptor: tuple[float, ...] = (),
    weights: str = "now",
) -> None:
    reason = "it cannot be read" if value is None else None
    stamp = file_stamp(datastore.get_image_uri(image))
    record = UncertaintyRecord(weights, stamp, value, reason, descriptor, 1)
    datastore.update_image_info(image, record.as_info())


def submit(datastore: StudiesDatastore, image: str, tmp_path: Path, **info: Any) -> None:
    label = save(tmp_path / f"label-{image}.nii.gz", (head() > 0.9).astype("uint8"))
    datastore.save_label(image, str(label), "final", info)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_offers_what_is_unlabelled_and_nothing_once_all_is_labelled(
    cohort: Cohort, strategy: str, tmp_path: Path
) -> None:
    datastore = cohort("a", "b")
    submit(datastore, "a", tmp_path)
    assert ask(strategy, datastore) == "b"
    submit(datastore, "b", tmp_path)
    assert ask(strategy, datastore) is None


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_scan_whose_label_was_rejected_is_offered_again(
    cohort: Cohort, strategy: str, tmp_path: Path
) -> None:
    datastore = cohort("a", "b")
    submit(datastore, "a", tmp_path, status="accepted")
    submit(datastore, "b", tmp_path, status="rejected")
    assert ask(strategy, datastore) == "b"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_annotators_are_not_given_the_same_scan(cohort: Cohort, strategy: str) -> None:
    datastore = cohort("a", "b", "c")
    given = {ask(strategy, datastore, client_id=name) for name in ("ann", "ben", "cem")}
    assert given == {"a", "b", "c"}
    assert ask(strategy, datastore, client_id="dan") is None
    assert ask(strategy, datastore, client_id="dan", reserve_minutes="0") in given


def test_a_reservation_ends_after_a_while(cohort: Cohort) -> None:
    datastore = cohort("a")
    long_ago = int(time.time()) - 31 * 60
    datastore.update_image_info("a", {"strategy": {"first": {"ts": long_ago, "client_id": "ann"}}})
    assert ask("first", datastore, client_id="ben") == "a"


def test_clients_that_do_not_say_who_they_are_reserve_nothing(cohort: Cohort) -> None:
    datastore = cohort("a")
    assert [ask("first", datastore), ask("first", datastore), ask("first", datastore, client_id="x")] == [
        "a"
    ] * 3


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_skipped_scans_come_last_and_go_back_to_the_others(cohort: Cohort, strategy: str) -> None:
    datastore = cohort("a", "b", "c")
    first = ask(strategy, datastore, client_id="ann")
    second = ask(strategy, datastore, client_id="ann", skip=first)
    third = ask(strategy, datastore, client_id="ann", skip=second)
    assert {first, second, third} == {"a", "b", "c"}
    assert ask(strategy, datastore, client_id="ben") == first  # of the two that are free, skipped longest ago


def test_a_scan_that_a_client_marked_as_skipped_comes_last(cohort: Cohort) -> None:
    datastore = cohort("a", "b")
    datastore.update_image_info("a", {"skipped": True})
    assert ask("first", datastore) == "b"


@pytest.mark.parametrize(("skip", "error"), [("nowhere", UnknownNameError), (3, InvalidRequestError)])
def test_skipping_what_is_not_there_is_refused(cohort: Cohort, skip: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="skip"):
        ask("random", cohort("a"), skip=skip)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_scan_that_scoring_could_not_read_comes_after_the_others(cohort: Cohort, strategy: str) -> None:
    datastore = cohort("a", "b")
    score(datastore, "a", None)
    assert {ask(strategy, datastore) for _ in range(5)} == {"b"}


def test_a_scan_that_was_replaced_by_a_readable_one_counts_again(cohort: Cohort, tmp_path: Path) -> None:
    datastore = cohort("a", "b")
    score(datastore, "a", None)
    save(tmp_path / "studies/a.nii.gz", head(5) * 2)
    assert ask("first", datastore) == "a"


def test_the_most_uncertain_scan_comes_first(cohort: Cohort) -> None:
    datastore = cohort("a", "b", "c")
    for name, value in (("a", 0.1), ("b", 0.3), ("c", 0.2)):
        score(datastore, name, value)
    assert ask("uncertainty", datastore) == "b"


def test_a_scan_without_a_score_goes_before_the_certain_and_after_the_uncertain(
    cohort: Cohort, tmp_path: Path
) -> None:
    datastore = cohort("certain", "new", "uncertain", "usual")
    for name, value in (("certain", 0.1), ("usual", 0.2), ("uncertain", 0.4)):
        score(datastore, name, value)
    order = []
    while (image := ask("uncertainty", datastore)) is not None:
        order.append(image)
        submit(datastore, image, tmp_path)
    assert order[0] == "uncertain" and order[-1] == "certain"


def test_scans_of_equal_uncertainty_are_drawn_by_chance(cohort: Cohort) -> None:
    datastore = cohort("a", "b", "c")
    assert {ask("uncertainty", datastore) for _ in range(60)} == {"a", "b", "c"}


def test_diversity_offers_what_is_least_like_the_labelled(cohort: Cohort, tmp_path: Path) -> None:
    datastore = cohort("far", "labelled", "near")
    for name, place in (("labelled", 0.0), ("near", 1.0), ("far", 9.0)):
        score(datastore, name, 0.1, (place, 2.0))
    submit(datastore, "labelled", tmp_path)
    assert ask("diversity", datastore) == "far"


def test_diversity_takes_the_scans_that_others_have_for_labelled(cohort: Cohort) -> None:
    datastore = cohort("left", "left-too", "right")
    for name, place in (("left", 0.0), ("left-too", 0.1), ("right", 5.0)):
        score(datastore, name, 0.1, (place,))
    assert ask("first", datastore, client_id="ann") == "left"
    assert ask("diversity", datastore, client_id="ben") == "right"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "info",
    [
        {"uncertainty": 3, "strategy": [], "skipped": []},
        {"uncertainty": {"weights_sha256": "x", "score": "high", "descriptor": [None]}},
        {"uncertainty": {"weights_sha256": "x", "score": True, "descriptor": [[1.0]]}},
        {"strategy": {"random": {"ts": "soon", "client_id": 3}}, "skipped": {"ts": "never"}},
    ],
)
def test_whatever_a_client_wrote_into_the_info_is_no_obstacle(
    cohort: Cohort, strategy: str, info: dict[str, Any]
) -> None:
    datastore = cohort("a")
    datastore.update_image_info("a", info)
    assert ask(strategy, datastore, client_id="ann") == "a"


def test_a_record_is_read_as_it_was_written() -> None:
    record = UncertaintyRecord("abc", "12-34", 0.25, None, (1.0, -2.5), 99)
    assert read_record(record.as_info()) == record
    assert read_record({}) is None
