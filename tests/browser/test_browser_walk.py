"""An annotator's way through the page: from an empty one to a submitted mask and the next scan."""

from __future__ import annotations

from pathlib import Path

import app_server
import nibabel as nib
import numpy as np
import pytest
from browser_page import Page

SCAN = "sub-01_T1w"
BESIDE_THE_HEAD = (0.10, 0.14)
IN_THE_LESION = (0.72, 0.45)
OTHER_SIDE = (0.30, 0.45)


@pytest.mark.server
def test_a_scan_is_segmented_corrected_and_submitted_and_the_next_one_opens(
    page: Page, server: app_server.Server, studies: Path
) -> None:
    assert page.wait(lambda s: s["connected"])["image"] == ""
    page.picture("01-empty")

    assert page.open(SCAN)["voxels"] == 0
    page.picture("02-open")

    page.click("segment")
    segmented = page.wait(lambda s: s["voxels"] > 0 and s["has_probability"])
    assert segmented["same"]
    assert segmented["undo"] == "Segment"
    assert 40_000 < segmented["voxels"] < 130_000  # the truth has 85,095 voxels of 1 mm3
    page.picture("03-segment")

    lower = _drag_threshold(page, to=0.08)
    assert lower["voxels"] > segmented["voxels"]
    assert lower["undo"].startswith("Threshold 0.")
    page.picture("04-threshold")

    page.click("tool paint")
    page.drag(BESIDE_THE_HEAD, (0.16, 0.14))
    painted = page.wait(lambda s: s["undo"] == "Paint")
    assert painted["same"]
    assert painted["voxels"] > lower["voxels"]
    assert painted["islands"] == lower["islands"] + 1
    page.picture("05-paint")

    page.click("tool remove_island")
    page.press_at(BESIDE_THE_HEAD)
    removed = page.wait(lambda s: s["undo"] == "Remove island")
    assert removed["voxels"] == lower["voxels"]
    page.picture("06-remove-island")

    page.click("undo")
    assert page.wait(lambda s: s["undo"] == "Paint")["voxels"] == painted["voxels"]
    page.window.keyboard.press("Control+y")
    assert page.wait(lambda s: s["undo"] == "Remove island")["voxels"] == removed["voxels"]

    page.click("tool erase")
    page.drag(IN_THE_LESION, (0.75, 0.48))
    erased = page.wait(lambda s: s["undo"] == "Erase")
    assert erased["voxels"] < removed["voxels"]

    page.click("tool lesion")
    page.press_at(IN_THE_LESION)
    refined = page.wait(lambda s: s["undo"] == "Refine by a click")
    assert refined["same"]
    assert refined["voxels"] > erased["voxels"]
    page.click("tool navigate")
    page.picture("07-refine")

    page.click("overlay uncertainty")
    page.wait(lambda s: s["overlay"] == "uncertainty" and not s["busy"])
    page.picture("08-uncertainty")
    page.click("overlay uncertainty")

    final = page.state()
    page.click("submit_and_next")
    following = page.wait(lambda s: s["image"] not in ("", SCAN) and not s["busy"])
    assert following["voxels"] == 0
    assert not following["dirty"]
    page.picture("09-next")

    assert page.faults == []
    _is_stored_where_the_scan_is(server, studies, final["voxels"])


def _drag_threshold(page: Page, to: float) -> dict[str, object]:
    """Drag the slider's thumb in steps, and let go."""
    box = page.window.locator('[data-test="threshold"]').bounding_box()
    assert box is not None
    y, middle = box["y"] + box["height"] / 2, box["x"] + box["width"] / 2
    page.window.mouse.move(middle, y)
    page.window.mouse.down()
    page.window.mouse.move(box["x"] + to * box["width"], y, steps=8)
    dragged = page.wait(lambda s: s["undo"] == "Segment")  # no step of its own while it moves
    page.window.mouse.up()
    assert dragged["same"]
    return page.wait(lambda s: str(s["undo"]).startswith("Threshold"))


def _is_stored_where_the_scan_is(server: app_server.Server, studies: Path, voxels: int) -> None:
    """The server holds the label on the scan's own grid, with all its voxels, on the left side of the head."""
    answer = server.get("/datastore/label", params={"label": SCAN, "tag": "final"})
    assert answer.ok
    stored = studies / "labels" / "final" / f"{SCAN}.nii.gz"
    label, scan = nib.load(stored), nib.load(studies / f"{SCAN}.nii.gz")
    assert label.shape == scan.shape
    np.testing.assert_allclose(label.affine, scan.affine, atol=1e-4)
    inside = np.argwhere(np.asarray(label.dataobj) > 0)
    assert len(inside) == voxels
    centre_mm = nib.affines.apply_affine(label.affine, inside.mean(axis=0))
    assert centre_mm[0] < -20  # left in RAS: the lesion is in the left middle cerebral artery's territory
