"""The last step of the tutorial: the model learns from what was submitted, and the page shows how it goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from playwright.sync_api import Browser

from support import app_server
from support.app_train import submit
from support.browser_page import Page, open_page

pytestmark = pytest.mark.server

SCAN, OTHERS = "sub-01_T1w", ("sub-02_T2w", "sub-03_FLAIR")
TRUTH = Path(__file__).parents[2] / "sample-data/derivatives/simulated-truth"
MINUTES = 10 * 60.0


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory, studies: Path) -> Iterator[app_server.Server]:
    """A server of its own with the shipped weights, on which two of three scans are labelled."""
    folder = tmp_path_factory.mktemp("trainer")
    own = folder / "studies"
    own.mkdir()
    for scan in (SCAN, *OTHERS):
        (own / f"{scan}.nii.gz").write_bytes((studies / f"{scan}.nii.gz").read_bytes())
    running = app_server.start(folder, own)
    for scan in OTHERS:
        (mask,) = TRUTH.glob(f"{scan.split('_')[0]}/anat/*_mask.nii.gz")
        submit(running, scan, np.asarray(nib.load(mask).dataobj) > 0, folder)
    yield running
    assert app_server.stop(running) == []


@pytest.fixture
def page(
    tmp_path_factory: pytest.TempPathFactory, trainer: app_server.Server, browser: Browser, pictures: Path
) -> Iterator[Page]:
    """The page, connected to that server."""
    with open_page(tmp_path_factory.mktemp("page"), trainer.url, browser, pictures) as page:
        yield page


def test_a_submitted_case_is_trained_on_from_the_page_and_the_next_mask_is_of_the_new_model(
    page: Page, trainer: app_server.Server
) -> None:
    page.wait(lambda s: s["connected"])
    page.open(SCAN)
    page.click("segment")
    before = page.wait(lambda s: s["voxels"] > 0 and not s["busy"])
    page.click("submit")
    page.wait(lambda s: not s["dirty"] and not s["busy"] and "ubmitted" in s["status"])

    page.window.click('[data-test="training"]')
    page.window.click('[data-test="options"] summary')
    page.window.fill('[data-test="options"] input[name="steps"]', "4")
    page.window.select_option('[data-test="options"] select[name="device"]', "cpu")
    page.picture("14-train-options")
    page.window.click('[data-test="options"] summary')
    page.click("train")
    page.wait(lambda s: s["training"]["running"])
    page.wait(lambda s: s["training"]["epoch"] > 0 or not s["training"]["running"], MINUTES)
    page.picture("15-training")
    ended = page.wait(lambda s: not s["training"]["running"], MINUTES)
    page.picture("16-trained")

    stats = trainer.get("/info/").json()["train_stats"]["segment"]
    assert stats["total_steps"] == 4, "the page's option reached the server"
    decision = stats["result"]["decision"]
    assert decision["activate"], decision["reasons"]
    assert "version 0001 activated" in str(ended["status"])
    assert page.window.inner_text(".training .log") in str(ended["status"])

    page.window.keyboard.press("Escape")
    page.click("segment")
    after = page.wait(lambda s: s["undo"] == "Segment" and s["voxels"] != before["voxels"] and not s["busy"])
    assert after["voxels"] > 0
    assert page.faults == []
