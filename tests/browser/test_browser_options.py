"""Options of Segment, as the server offers them, reach the server from the page."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest

from support import app_server
from support.app_server import multipart
from support.browser_page import Page

pytestmark = pytest.mark.server

SCAN = "sub-03_FLAIR"


def count(server: app_server.Server, **options: object) -> int:
    """Voxels of the mask that the server answers for these options."""
    _, _, content = multipart(server.infer("segment", SCAN, **options))
    image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    return int((np.asarray(image.dataobj) > 0).sum())


def test_a_threshold_and_a_smallest_size_chosen_in_the_page_make_the_servers_mask(
    page: Page, server: app_server.Server
) -> None:
    page.wait(lambda s: s["connected"])
    page.open(SCAN)
    page.click("segment")
    plain = page.wait(lambda s: s["has_probability"] and not s["busy"])
    form = '[data-test="segment-options"]'
    offered = set(server.get("/info/").json()["models"]["segment"]["config"])
    page.window.click(f"{form} summary")
    names = page.window.eval_on_selector_all(f"{form} [name]", "all => all.map(e => e.name)")
    assert set(names) == offered - {"result", "uncertainty"}

    page.window.select_option(f'{form} select[name="threshold"]', "0.1")
    page.window.fill(f'{form} input[name="min_size_ml"]', "1.5")
    page.window.keyboard.press("Tab")
    page.window.wait_for_selector(f'{form} .changed-options:has-text("min size ml 1.5")')
    page.picture("22-segment-options")
    page.click("segment")
    page.wait(lambda s: s["busy"] or s["voxels"] != plain["voxels"])
    chosen = page.wait(lambda s: not s["busy"] and s["has_probability"])
    assert chosen["voxels"] == count(server, threshold="0.1", min_size_ml=1.5) != plain["voxels"]
    assert plain["voxels"] == count(server)
    assert chosen["same"] and page.error == "" and page.faults == []
