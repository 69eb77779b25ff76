"""A prediction that takes minutes says how far it is, and Cancel ends it at once, in the page and on the server."""

from __future__ import annotations

import re
import time

import pytest

from support import app_server
from support.browser_page import PATIENCE_S, Page

pytestmark = pytest.mark.server

SCAN, OTHER = "sub-01_T1w", "sub-03_FLAIR"
PROMPT_S = 2.0
"""Seconds that a cancellation may take."""


def choose(page: Page, model: str) -> str:
    """Choose a model in the list; return what the list says of it."""
    page.window.click(".model")
    entry = page.window.locator(".v-overlay .v-list-item", has_text=re.compile(rf"^{model}\b"))
    said = entry.inner_text()
    entry.click()
    page.window.wait_for_selector(".v-overlay .v-list-item", state="detached")
    return said


def seconds_until(holds: object, since: float) -> float:
    while not holds():  # type: ignore[operator]
        assert time.monotonic() - since < PATIENCE_S
        time.sleep(0.02)
    return time.monotonic() - since


def test_an_adaptation_shows_its_progress_and_is_cancelled_within_two_seconds(
    page: Page, server: app_server.Server
) -> None:
    page.wait(lambda s: s["connected"])
    page.open(SCAN)
    page.click("segment")
    before = page.wait(lambda s: s["has_probability"] and not s["busy"])
    assert before["voxels"] > 0

    assert re.search(r"about \d+ (s|min)", choose(page, "segment_adapted"))
    page.click("segment")
    page.wait(lambda s: s["progress"])
    said = page.window.locator('[data-test="busy"]')
    page.window.wait_for_selector('[data-test="busy"]:has-text("adapting")', timeout=PATIENCE_S * 1000)
    assert re.fullmatch(rf"Segmenting {SCAN}: adapting, \d+ %(, about \d+ (s|min) left)?", said.inner_text())
    first = page.wait(lambda s: s["progress"])["progress"]
    page.wait(lambda s: s["progress"] and s["progress"] > first)
    page.window.wait_for_selector('[data-test="busy"]:has-text(" left")', timeout=PATIENCE_S * 1000)
    page.picture("17-adapting")

    page.window.click(".banner.busy button")
    pressed = time.monotonic()
    page.window.wait_for_selector(".banner.busy", state="detached")
    in_the_page = time.monotonic() - pressed
    on_the_server = seconds_until(lambda: server.get("/health").json()["queue_length"] == 0, pressed)
    page.picture("18-cancelled")
    assert (in_the_page < PROMPT_S, on_the_server < PROMPT_S) == (True, True), (in_the_page, on_the_server)

    after = page.state()
    assert (after["busy"], after["status"]) == ("", f"Cancelled: Segmenting {SCAN}")
    assert (after["voxels"], after["same"], after["undo"]) == (before["voxels"], True, "Segment")
    assert page.error == ""
    assert page.faults == []
    assert server.infer("segment", OTHER).ok  # the network is free
