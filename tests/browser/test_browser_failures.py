"""What goes wrong is one sentence on the page, and nothing painted is lost."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from support import app_server
from support.browser_page import Page, start_page, stop_page
from support.cable import Cable

pytestmark = pytest.mark.server

SCAN = "sub-03_FLAIR"
STROKE = ((0.40, 0.45), (0.46, 0.47))
OTHER_STROKE = ((0.60, 0.60), (0.66, 0.60))


@pytest.fixture(scope="module")
def painted(page: Page) -> Page:
    """The page with a scan open and a stroke on it."""
    page.wait(lambda s: s["connected"])
    page.open(SCAN)
    page.click("tool paint")
    page.drag(*STROKE)
    page.wait(lambda s: s["undo"] == "Paint")
    return page


def test_a_server_that_is_down_is_one_sentence_and_what_was_painted_stays(
    painted: Page, cable: Cable
) -> None:
    before = painted.state()
    cable.cut()
    try:
        painted.click("segment")
        sentence = painted.wait_for_error("kept on this computer", "10-server-down")
    finally:
        cable.mend()
    assert "Traceback" not in sentence
    after = painted.state()
    assert (after["voxels"], after["same"], after["busy"]) == (before["voxels"], True, "")


def test_painting_goes_on_while_the_server_is_down(painted: Page, cable: Cable) -> None:
    before = painted.state()["voxels"]
    cable.cut()
    try:
        painted.drag(*OTHER_STROKE)
        assert painted.wait(lambda s: s["voxels"] > before)["same"]
    finally:
        cable.mend()


def test_a_network_cut_during_submit_loses_nothing_and_submit_works_afterwards(
    painted: Page, cable: Cable, server: app_server.Server
) -> None:
    before = painted.state()["voxels"]
    cable.cut_in_the_middle_of(b"PUT /datastore/label")
    try:
        painted.click("submit")
        painted.wait_for_error("kept on this computer")
    finally:
        cable.mend()
    after = painted.state()
    assert (after["voxels"], after["dirty"]) == (before, True)
    assert not server.get("/datastore/label", params={"label": SCAN, "tag": "final"}).ok

    painted.click("submit")
    painted.wait(lambda s: not s["dirty"] and not s["busy"])
    assert server.get("/datastore/label", params={"label": SCAN, "tag": "final"}).ok


def test_a_second_window_shows_the_same_scan_and_both_say_so(painted: Page, browser: object) -> None:
    second = Page(painted.running, browser, painted.pictures)
    second.window.wait_for_selector("text=open in 2 windows")
    painted.window.wait_for_selector("text=open in 2 windows")
    assert second.window.locator(".title-name").inner_text() == SCAN
    second.picture("11-two-windows")
    second.window.close()
    painted.window.wait_for_selector("text=open in 2 windows", state="detached")


def test_a_file_that_is_no_image_is_one_sentence(painted: Page, tmp_path: Path) -> None:
    junk = tmp_path / "notes.nii.gz"
    junk.write_bytes(b"not an image")
    painted.window.set_input_files(".upload input[accept]", junk)
    assert "notes" in painted.wait_for_error("notes")


def test_work_that_was_not_submitted_is_offered_again_after_a_crash(
    cable: Cable, browser: object, pictures: Path, tmp_path: Path
) -> None:
    running = start_page(tmp_path, cable.url)
    page = Page(running, browser, pictures)
    page.wait(lambda s: s["connected"])
    page.open("sub-02_T2w")
    page.click("tool paint")
    page.drag(*STROKE)
    voxels = page.wait(lambda s: s["undo"] == "Paint")["voxels"]
    page.open("sub-02_T2w")  # opening saves what is there, as the timer does every few seconds
    page.window.click('[data-answer="later"]')
    stop_page(running, signal.SIGKILL)
    page.window.close()

    again = start_page(tmp_path, cable.url)
    try:
        page = Page(again, browser, pictures)
        page.wait(lambda s: s["connected"])
        page.open("sub-02_T2w")
        page.window.wait_for_selector('[data-answer="restore"]')
        page.picture("12-offered-again")
        page.window.click('[data-answer="restore"]')
        assert page.wait(lambda s: s["voxels"] > 0)["voxels"] == voxels
        page.window.close()
    finally:
        stop_page(again)


def test_a_server_that_is_restarted_answers_the_same_page_again(
    painted: Page, cable: Cable, server: app_server.Server, tmp_path: Path
) -> None:
    before = painted.state()["voxels"]
    restarted = app_server.start(tmp_path, server.studies)
    try:
        cable.lead_to(restarted.url)
        painted.click("segment")
        painted.wait(lambda s: s["undo"] == "Segment" and not s["busy"])
        painted.click("undo")
        assert painted.wait(lambda s: s["undo"] == "Paint")["voxels"] == before
    finally:
        cable.lead_to(server.url)
        app_server.stop(restarted)
