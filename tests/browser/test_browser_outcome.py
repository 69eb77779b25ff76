"""The page asks for the stage of the stroke and shows the estimate, where the server estimates an outcome."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser
from StrokeLabelLib.volume import Volume

from support.browser_page import open_page
from support.small_server import Store, serving
from support.walk_data import AFFINES, scan_and_lesion

pytestmark = pytest.mark.server

SCAN, OTHER = "sub-1_T1w", "sub-2_T1w"
ESTIMATE = [
    "estimated NIHSS 9 (90 % interval 2 to 25); research use only",
    "driven by (points of NIHSS): left lateral lenticulostriate (3.1), left middle cerebral, frontal (0.9), "
    "right lateral lenticulostriate (0.5)",
]
REFUSAL = "no NIHSS is estimated: its model is of acute strokes alone, and "
OUTCOMES = {
    "unknown": {"stroke_stage": "unknown", "text": [f"{REFUSAL}the stage of this one was not said"]},
    "acute": {"stroke_stage": "acute", "text": ESTIMATE},
    "chronic": {"stroke_stage": "chronic", "text": [f"{REFUSAL}this one was said to be chronic"]},
}
STRUCTURES = ["0.9 % of the intracranial volume, 1412 ml", *(f"left structure {n} 1.0 ml" for n in range(8))]


def test_the_stage_is_said_per_scan_and_the_estimate_is_above_the_structures(
    tmp_path: Path, browser: Browser, pictures: Path
) -> None:
    volume = Volume(scan_and_lesion(AFFINES["LIA"])[0], AFFINES["LIA"])
    store = Store({SCAN: volume, OTHER: volume}, outcome=OUTCOMES, structures={"text": STRUCTURES})
    with serving(store) as url, open_page(tmp_path, url, browser, pictures) as page:
        page.open(SCAN)
        outcome = page.window.locator('[data-test="outcome"]')
        stage = page.window.locator('[data-test="stroke-stage"]')

        def segment(last: str) -> None:
            page.click("segment")
            page.window.wait_for_function(
                "last => document.querySelector('[data-test=outcome]')?.innerText.trim().endsWith(last)",
                arg=last,
            )
            page.wait(lambda s: s["has_probability"] and not s["busy"])

        assert stage.input_value() == "unknown"
        segment("was not said")
        stage.select_option("acute")
        page.window.wait_for_function(
            "() => document.querySelector('[data-test=outcome]').innerText.includes('Segment again')"
        )
        segment("(0.5)")
        assert outcome.inner_text().splitlines() == ESTIMATE
        page.picture("19-outcome")
        box = page.window.locator('[data-test="structures"]').bounding_box()
        last = page.window.locator('[href="download/report"]').bounding_box()
        assert box is not None and last is not None
        assert box["y"] + box["height"] <= last["y"] <= 900 - last["height"]
        assert box["x"] + box["width"] <= 1400
        stage.select_option("chronic")
        segment("said to be chronic")

        page.open(OTHER)
        page.window.wait_for_function(
            "() => document.querySelector('[data-test=stroke-stage]').value === 'unknown'"
        )
        assert not page.faults


def test_a_server_that_estimates_nothing_asks_for_no_stage(
    tmp_path: Path, browser: Browser, pictures: Path
) -> None:
    store = Store({SCAN: Volume(scan_and_lesion(AFFINES["LIA"])[0], AFFINES["LIA"])})
    with serving(store) as url, open_page(tmp_path, url, browser, pictures) as page:
        page.open(SCAN)
        assert page.window.locator('[data-test="stroke-stage"]').count() == 0
