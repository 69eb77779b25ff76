"""When something goes wrong the user reads one clear sentence, and nothing painted is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from StrokeLabelLib.client.api import Client
from StrokeLabelLib.client.jobs import ThreadRunner
from StrokeLabelLib.session.presenter import Presenter
from StrokeLabelLib.session.settings import Settings
from StrokeLabelLib.volume import Volume

from support.fake_view import FakeView, make_presenter
from support.small_server import Store, serving
from support.walk_data import AFFINES, beside_lesion, scan_and_lesion

SCAN, OTHER = "sub-1_T1w", "sub-2_T1w"
FAR = beside_lesion(0, 20, 0)


@pytest.fixture
def store() -> Store:
    scans = {}
    for name, axes in ((SCAN, "LIA"), (OTHER, "LAS")):
        scans[name] = Volume(scan_and_lesion(AFFINES[axes])[0], AFFINES[axes])
    return Store(scans)


@pytest.fixture
def url(store: Store) -> Iterator[str]:
    with serving(store) as address:
        yield address


def painted(url: str, folder: Path) -> tuple[Presenter, FakeView]:
    presenter, view, _ = make_presenter(folder)
    presenter.connection.connect(url)
    presenter.cases.open(SCAN)
    presenter.segmentation.segment()
    view.paint(presenter, [FAR])
    assert not view.errors
    return presenter, view


def is_one_sentence(error: str) -> bool:
    return 20 < len(error) < 260 and "\n" not in error and "Traceback" not in error and error.endswith(".")


def test_no_server_at_the_address(tmp_path: Path) -> None:
    presenter, view, _ = make_presenter(tmp_path)
    presenter.connection.connect("127.0.0.1:9")
    assert view.errors == [
        "The server at http://127.0.0.1:9 can't be reached; check that it runs and the address is right."
    ]
    assert not view.state.connected and view.state.can("connect")


@pytest.mark.parametrize("address", ["http://", "not an address", "ftp://x"])
def test_no_address_at_all(tmp_path: Path, address: str) -> None:
    presenter, view, _ = make_presenter(tmp_path)
    presenter.connection.connect(address)
    assert len(view.errors) == 1 and is_one_sentence(view.errors[0])


def test_a_server_that_is_no_monai_label(tmp_path: Path) -> None:
    with serving(Store(refuse={"/datastore/": (200, "other")})) as address:
        presenter, view, _ = make_presenter(tmp_path)
        presenter.connection.connect(address)
    assert "is it MONAI Label?" in view.errors[-1] and not view.state.connected


def test_the_server_goes_down_before_submitting_and_comes_back(store: Store, tmp_path: Path) -> None:
    with serving(store) as address:
        presenter, view = painted(address, tmp_path)
    intended = view.mask.data.copy()
    presenter.submission.submit()
    assert "can't be reached" in view.errors[-1]
    assert view.errors[-1].endswith("What you painted is kept on this computer.") and is_one_sentence(
        view.errors[-1]
    )
    assert view.state.dirty and np.array_equal(view.mask.data, intended)
    with serving(store, int(address.rpartition(":")[2])):
        presenter.submission.submit()
    assert (SCAN, "final") in store.labels and not view.state.dirty
    assert not list((tmp_path / "working-copies").rglob("*.nii.gz"))


def test_work_on_a_server_that_died_is_offered_again_in_the_next_session(
    store: Store, tmp_path: Path
) -> None:
    with serving(store) as address:
        presenter, view = painted(address, tmp_path)
        intended = view.mask.data.copy()
        presenter.segmentation.set_threshold(0.3)
        presenter.shut_down()
    with serving(store, int(address.rpartition(":")[2])):
        again, view, _ = make_presenter(tmp_path)
        again.connection.connect(address)
        view.answers = ["restore"]
        again.cases.open(SCAN)
        assert "Unsubmitted work on sub-1_T1w" in view.questions[0].text and view.state.dirty
        assert np.count_nonzero(view.mask.data) >= np.count_nonzero(intended)
        assert view.mask.data[view.mask.grid.to_voxel(FAR)] == 1 and view.state.threshold == 0.3
        again.submission.submit()
        assert store.labels[SCAN, "final"][1]["params"]["provenance"]["edits"] == [
            "Segment",
            "Paint",
            "Threshold 0.30",
        ]
        again.cases.open(SCAN)
    assert len(view.questions) == 1


@pytest.mark.parametrize(("answer", "left"), [("later", 1), ("discard", 0)])
def test_a_working_copy_goes_only_when_the_user_says_so(
    url: str, tmp_path: Path, answer: str, left: int
) -> None:
    presenter, _ = painted(url, tmp_path)
    presenter.shut_down()
    again, view, _ = make_presenter(tmp_path)
    again.connection.connect(url)
    view.answers = [answer]
    again.cases.open(SCAN)
    assert not view.mask.data.any()
    assert len(list((tmp_path / "working-copies").rglob("*.nii.gz"))) == left


def test_painted_work_is_saved_every_few_seconds_and_before_another_case_opens(
    url: str, tmp_path: Path
) -> None:
    presenter, view, clock = make_presenter(tmp_path)
    presenter.connection.connect(url)
    presenter.cases.open(SCAN)
    view.paint(presenter, [FAR])
    clock.now += 11
    presenter.tick()
    assert len(list((tmp_path / "working-copies").rglob("*.nii.gz"))) == 1
    presenter.cases.open(OTHER)
    view.paint(presenter, [FAR])
    presenter.cases.close()
    assert len(list((tmp_path / "working-copies").rglob("*.nii.gz"))) == 2 and view.case is None


def test_a_damaged_working_copy_is_ignored(url: str, tmp_path: Path) -> None:
    presenter, _ = painted(url, tmp_path)
    presenter.shut_down()
    (copy,) = (tmp_path / "working-copies").rglob("*.nii.gz")
    copy.write_bytes(copy.read_bytes()[:100])
    again, view, _ = make_presenter(tmp_path)
    again.connection.connect(url)
    again.cases.open(SCAN)
    assert not view.questions and not view.errors


def test_a_scan_that_was_removed_meanwhile(url: str, store: Store, tmp_path: Path) -> None:
    presenter, view = painted(url, tmp_path)
    removed = store.scans.pop(SCAN)
    presenter.submission.submit()
    assert "no longer on the server" in view.errors[-1] and "kept on this computer" in view.errors[-1]
    assert view.state.dirty and list((tmp_path / "working-copies").rglob("*.nii.gz"))
    presenter.cases.open(SCAN)
    assert "refresh the list" in view.errors[-1] and view.state.open_image == SCAN
    store.scans[SCAN] = removed
    presenter.submission.submit()
    assert (SCAN, "final") in store.labels


def test_a_label_that_is_refused_is_explained_in_the_servers_words(
    url: str, store: Store, tmp_path: Path
) -> None:
    presenter, view = painted(url, tmp_path)
    store.refuse["/datastore/label"] = 422, "label: expected values 0 and 1, found 7."
    presenter.submission.submit()
    assert view.errors == ["label: expected values 0 and 1, found 7."]
    assert view.state.dirty and list((tmp_path / "working-copies").rglob("*.nii.gz"))


def test_a_network_cut_during_submit_is_tried_again(url: str, store: Store, tmp_path: Path) -> None:
    presenter, view = painted(url, tmp_path)
    store.cut["/datastore/label"] = 1
    presenter.submission.submit()
    assert not view.errors and not view.state.dirty and (SCAN, "final") in store.labels


def test_a_network_that_stays_cut_keeps_the_mask_and_the_next_try_finds_it_there(
    url: str, store: Store, tmp_path: Path
) -> None:
    presenter, view = painted(url, tmp_path)
    store.cut["/datastore/label"] = 3
    presenter.submission.submit()
    assert "can't be reached" in view.errors[-1] and view.state.dirty
    presenter.submission.submit()
    assert len(view.errors) == 1 and not view.questions and not view.state.dirty


def test_two_pages_on_one_scan_never_overwrite_each_other_unasked(
    url: str, store: Store, tmp_path: Path
) -> None:
    first, first_view = painted(url, tmp_path)
    second, second_view, _ = make_presenter(tmp_path)
    second.settings.client_id = "reader 2"
    second.connection.connect(url)
    second.cases.open(SCAN)
    second_view.paint(second, [beside_lesion(4, 20, 0)])
    second.submission.submit()
    theirs = store.labels[SCAN, "final"][0].data.copy()
    first.submission.submit()
    (question,) = first_view.questions
    assert "by reader 2" in question.text and is_one_sentence(question.text)
    assert np.array_equal(store.labels[SCAN, "final"][0].data, theirs) and first_view.state.dirty
    assert list((tmp_path / "working-copies").rglob("*.nii.gz"))
    first_view.answers = ["replace"]
    first.submission.submit()
    assert store.labels[SCAN, "final"][0].data.sum() == np.count_nonzero(first_view.mask.data)
    assert not first_view.state.dirty


def test_a_token_is_asked_for_and_sent(store: Store, tmp_path: Path) -> None:
    store.token = "secret"
    with serving(store) as address:
        presenter, view, _ = make_presenter(tmp_path)
        presenter.connection.connect(address)
        assert "asks for a token" in view.errors[-1]
        presenter.connection.connect(address, "secret")
    assert view.state.connected and "secret" not in str(presenter.settings)


@pytest.mark.parametrize(
    ("status", "words"), [(500, "server failed"), (503, "busy"), (400, "refused"), (404, "refresh")]
)
def test_an_answer_without_words_gets_a_sentence(
    url: str, store: Store, tmp_path: Path, status: int, words: str
) -> None:
    presenter, view = painted(url, tmp_path)
    store.refuse["/infer/segment"] = status, ""
    before = view.mask.data.copy()
    presenter.segmentation.segment()
    assert words in view.errors[-1] and is_one_sentence(view.errors[-1])
    assert np.array_equal(view.mask.data, before)


def test_an_answer_on_another_grid_is_not_shown(url: str, store: Store, tmp_path: Path) -> None:
    presenter, view = painted(url, tmp_path)
    store.scans[SCAN] = Volume(
        store.scans[SCAN].data, store.scans[SCAN].affine + np.eye(4)[:, [3, 0, 1, 2]] * 0.4
    )
    before = view.mask.data.copy()
    presenter.segmentation.segment()
    assert "does not lie on the scan's voxels" in view.errors[-1] and np.array_equal(view.mask.data, before)


def test_a_mask_off_the_scans_voxels_is_refused_and_the_last_one_shown_again(
    url: str, tmp_path: Path
) -> None:
    presenter, view = painted(url, tmp_path)
    before = view.mask
    shifted = before.affine.copy()
    shifted[:3, 3] += 0.7
    view.mask = None
    presenter.editing.mask_edited(Volume(before.data, shifted))
    assert "does not lie on the scan's voxels" in view.errors[-1]
    assert np.array_equal(view.mask.data, before.data)


def pump_until(runner: ThreadRunner, condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        runner.pump()
        time.sleep(0.005)


def test_cancel_returns_at_once_and_painting_goes_on_meanwhile(
    url: str, store: Store, tmp_path: Path
) -> None:
    runner, view = ThreadRunner(), FakeView()
    presenter = Presenter(view, runner, Settings(), tmp_path, make_client=Client)
    presenter.connection.connect(url)
    pump_until(runner, lambda: view.state.connected)
    presenter.cases.open(SCAN)
    pump_until(runner, lambda: view.state.open_image == SCAN)
    store.hold = threading.Event()
    presenter.segmentation.segment()
    assert view.state.busy == f"Segmenting {SCAN}" and view.state.can_cancel
    assert "Wait for this" in view.state.blocked["submit"]
    view.paint(presenter, [FAR])
    presenter.cancel()
    assert view.state.busy == "" and view.state.status == f"Cancelled: Segmenting {SCAN}"
    store.hold.set()
    presenter.segmentation.segment()
    pump_until(runner, lambda: view.state.can("threshold") and not view.state.busy)
    assert view.mask.data[view.mask.grid.to_voxel(FAR)] == 1  # the stroke lies on top of the model's mask
    assert view.state.undo_name == "Segment" and not view.errors


@pytest.fixture
def waiting(url: str, store: Store, tmp_path: Path) -> Iterator[tuple[Presenter, FakeView, ThreadRunner]]:
    """A scan is open, and a model takes its time."""
    runner, view, store.hold = ThreadRunner(), FakeView(), threading.Event()
    presenter = Presenter(view, runner, Settings(), tmp_path, make_client=Client)
    presenter.connection.connect(url)
    pump_until(runner, lambda: view.state.connected)
    presenter.cases.open(SCAN)
    pump_until(runner, lambda: view.state.open_image == SCAN)
    presenter.segmentation.segment()
    pump_until(runner, lambda: store.requested)
    yield presenter, view, runner
    store.hold.set()


def test_the_progress_of_a_request_is_shown_while_it_is_waited_for(
    waiting: tuple[Presenter, FakeView, ThreadRunner], store: Store
) -> None:
    presenter, view, runner = waiting
    store.progress = {"state": "waiting", "ahead": 2, "stage": "", "fraction": 0.0, "remaining_s": None}
    presenter.tick()
    pump_until(runner, lambda: view.state.busy_text == f"Segmenting {SCAN}: waiting for 2 other requests")
    told = {"state": "running", "ahead": 0, "stage": "adapting", "fraction": 0.427, "remaining_s": 131.2}
    store.progress = told
    presenter.tick()
    pump_until(runner, lambda: view.state.busy_text == f"Segmenting {SCAN}: adapting, 43 %, about 2 min left")
    assert view.state.progress is not None and view.state.progress.fraction == 0.427
    assert store.asked_about == store.requested * 2 and len(store.requested[0]) == 32
    store.hold.set()
    pump_until(runner, lambda: view.state.can("threshold") and not view.state.busy)
    assert view.state.progress is None and view.state.busy_text == "" and not view.errors


def test_progress_is_gone_at_once_after_cancel_and_is_not_asked_for_any_more(
    waiting: tuple[Presenter, FakeView, ThreadRunner], store: Store
) -> None:
    presenter, view, runner = waiting
    store.progress = {"state": "running", "stage": "predicting", "fraction": 0.5}
    presenter.tick()
    pump_until(runner, lambda: view.state.progress is not None)
    presenter.cancel()
    assert view.state.progress is None and view.state.busy_text == "" and view.state.can("segment")
    presenter.tick()
    runner.pump()
    assert len(store.asked_about) == 1


def test_a_server_that_tells_no_progress_is_asked_once_and_all_else_is_as_before(
    waiting: tuple[Presenter, FakeView, ThreadRunner], store: Store
) -> None:
    presenter, view, runner = waiting
    presenter.tick()
    pump_until(runner, lambda: not presenter.segmentation._asking)
    presenter.tick()
    pump_until(runner, lambda: not presenter.segmentation._asking)
    assert len(store.asked_about) == 1
    assert view.state.busy_text == f"Segmenting {SCAN}" and view.state.progress is None
    store.hold.set()
    pump_until(runner, lambda: view.state.undo_name == "Segment" and not view.state.busy)
    assert not view.errors


def test_an_answer_for_a_case_that_was_left_is_dropped(url: str, store: Store, tmp_path: Path) -> None:
    runner, view = ThreadRunner(), FakeView()
    presenter = Presenter(view, runner, Settings(), tmp_path, make_client=Client)
    presenter.connection.connect(url)
    pump_until(runner, lambda: view.state.connected)
    presenter.cases.open(SCAN)
    pump_until(runner, lambda: view.state.open_image == SCAN)
    presenter.segmentation.segment()
    pump_until(runner, lambda: view.state.undo_name == "Segment")
    presenter.cases.open(OTHER)
    pump_until(runner, lambda: view.state.open_image == OTHER and not view.state.busy)
    assert not view.mask.data.any() and "Segment first" in view.state.blocked["threshold"]
