"""The page lists the structures that the lesion touches below its volume, where the server tells them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser
from StrokeLabelLib.volume import Volume

from support.browser_page import open_page
from support.small_server import Store, serving
from support.walk_data import AFFINES, scan_and_lesion

pytestmark = pytest.mark.server

SCAN = "sub-1_T1w"
LINES = [
    "1.9 % of the intracranial volume, 1412 ml",
    "both sides: left 23.9 ml, right 1.4 ml, midline 0.22 ml, outside all structures 0.31 ml",
    "cortical 9.8 ml, subcortical 15.1 ml, brainstem 0.22 ml, fluid 0.73 ml",
    "left cerebral white matter 10.7 ml (4.6 %)",
    "left cerebral cortex 9.8 ml (4.1 %)",
    "left putamen 2.4 ml (48 %)",
    "right cerebral white matter 1.4 ml (0.6 %)",
    "left inferior lateral ventricle 0.73 ml (100 %)",
    "brainstem 0.22 ml (cut off)",
    "3 more 0.61 ml",
]


def test_structures_are_listed_below_the_volume_and_the_rest_of_the_panel_stays_in_view(
    tmp_path: Path, browser: Browser, pictures: Path
) -> None:
    store = Store({SCAN: Volume(scan_and_lesion(AFFINES["LIA"])[0], AFFINES["LIA"])})
    with serving(store) as url, open_page(tmp_path, url, browser, pictures) as page:
        page.open(SCAN)
        page.click("segment")
        page.wait(lambda s: s["has_probability"] and not s["busy"])
        listed = page.window.locator('[data-test="structures"]')
        assert listed.count() == 0

        store.structures = {"text": LINES}
        page.click("segment")
        page.window.wait_for_selector('[data-test="structures"]')
        page.wait(lambda s: s["has_probability"] and not s["busy"])
        assert listed.inner_text().splitlines() == LINES
        page.picture("18-structures")
        box, volume = listed.bounding_box(), page.window.locator('[data-test="read-out"]').bounding_box()
        assert box is not None and volume is not None
        assert box["y"] >= volume["y"] + volume["height"] and box["x"] + box["width"] <= 1400
        last = page.window.locator('[href="download/report"]').bounding_box()
        assert last is not None and box["y"] + box["height"] <= last["y"] <= 900 - last["height"]
        assert not page.faults
