"""An annotator's way through the page: from an empty one to a submitted mask and the next scan."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from support import app_server
from support.bright_network import centred_affine, rotation
from support.browser_page import Page
from support.dicom_writer import write_series

SCAN = "sub-01_T1w"
BESIDE_THE_HEAD = (0.10, 0.14)
IN_THE_LESION = (0.72, 0.45)
DROPPED, DICOM = "sub-07_T1w", "series-of-sub-08"
AFFINE = centred_affine(rotation((8, -5, 3)) @ np.diag([-5.1, 6.2, 7.3]), (30, 26, 18))


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
    with page.window.context.expect_page() as opened:
        page.window.click('[data-test="lesion-report"]')
    opened.value.wait_for_load_state()
    assert opened.value.locator("img").count() == 3
    assert "For research only" in opened.value.locator("footer").inner_text()
    opened.value.close()

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


@pytest.mark.server
def test_a_nifti_that_is_dropped_on_the_page_is_uploaded_and_opened(
    page: Page, server: app_server.Server, tmp_path: Path
) -> None:
    dropped = tmp_path / f"{DROPPED}.nii.gz"
    nib.save(nib.Nifti1Image(_phantom(), AFFINE), dropped)
    page.drop(dropped)
    page.wait(lambda s: s["image"] == DROPPED and not s["busy"])
    answer = server.get("/datastore/image", params={"image": DROPPED})
    stored = nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))
    np.testing.assert_array_equal(np.asarray(stored.dataobj), _phantom())
    np.testing.assert_allclose(stored.affine, AFFINE, atol=1e-4)


@pytest.mark.server
def test_mask_and_report_are_downloaded_as_they_are_shown(page: Page, tmp_path: Path) -> None:
    page.click("tool paint")
    page.drag((0.45, 0.5), (0.55, 0.5))
    voxels = page.wait(lambda s: s["undo"] == "Paint")["voxels"]
    page.click("tool navigate")

    mask = nib.load(page.download("mask", tmp_path))
    assert np.count_nonzero(np.asarray(mask.dataobj)) == voxels
    assert mask.shape == _phantom().shape
    np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-4)

    report = json.loads(page.download("report", tmp_path).read_text())
    assert (report["image"], report["lesion_count"], report["submitted"]) == (DROPPED, 1, False)
    voxel_ml = abs(np.linalg.det(AFFINE[:3, :3])) / 1000
    assert report["lesion_volume_ml"] == pytest.approx(voxels * voxel_ml, abs=1e-3)


@pytest.mark.server
def test_a_dicom_folder_that_is_dropped_on_the_page_is_uploaded_and_opened(
    page: Page, server: app_server.Server, tmp_path: Path
) -> None:
    write_series(tmp_path / DICOM, _phantom(), AFFINE)
    page.drop(tmp_path / DICOM)
    page.wait(lambda s: s["image"] == DICOM and not s["busy"])
    answer = server.get("/datastore/image", params={"image": DICOM})
    stored = nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))
    in_order = nib.as_closest_canonical(stored)
    expected = nib.as_closest_canonical(nib.Nifti1Image(_phantom(), AFFINE))
    np.testing.assert_allclose(np.asarray(in_order.dataobj), np.asarray(expected.dataobj))
    np.testing.assert_allclose(in_order.affine, expected.affine, atol=1e-3)


@pytest.mark.server
@pytest.mark.parametrize(
    ("image_id", "button", "status"), [(DROPPED, "accept", "accepted"), (DICOM, "reject", "rejected")]
)
def test_a_models_mask_is_accepted_or_rejected(
    page: Page, server: app_server.Server, tmp_path: Path, image_id: str, button: str, status: str
) -> None:
    _give_a_models_mask(server, image_id, tmp_path)
    page.click("refresh")
    page.window.wait_for_selector(f'[data-case="{image_id}"].pseudo-label')
    page.window.click(f'[data-case="{image_id}"]')
    page.window.wait_for_selector(f'[data-command="{button}"]')
    _decide_later_if_asked(page)
    page.window.click(f'[data-command="{button}"]')
    page.window.wait_for_selector(f'[data-case="{image_id}"]:not(.pseudo-label)')
    page.wait(lambda s: not s["busy"])
    info = server.get("/datastore/", params={"output": "all"}).json()["objects"][image_id]["labels"]
    assert info["original"]["info"]["status"] == status
    assert ("final" in info) == (status == "accepted")
    assert page.faults == []


def _phantom() -> np.ndarray:
    values = np.random.default_rng(7).normal(40, 5, (30, 26, 18))
    values[6:24, 5:21, 3:15] += 300
    return 2 * (values / 2).astype(np.int16)  # even, as the DICOM writer's rescale slope is 2


def _give_a_models_mask(server: app_server.Server, image_id: str, folder: Path) -> None:
    """Store a label as a cohort's pseudo-labelling does."""
    scan = nib.Nifti1Image.from_bytes(
        gzip.decompress(server.get("/datastore/image", params={"image": image_id}).content)
    )
    mask = np.zeros(scan.shape, np.uint8)
    mask[10:16, 9:14, 6:10] = 1
    path = folder / "label.nii.gz"
    nib.save(nib.Nifti1Image(mask, scan.affine), path)
    answer = server.put(
        "/datastore/label",
        params={"image": image_id, "tag": "original"},
        data={"params": "{}"},
        files={"label": (path.name, path.read_bytes())},
    )
    assert answer.ok, answer.text


def _decide_later_if_asked(page: Page) -> None:
    """Work on the same scan that was painted before is offered again first."""
    page.wait(lambda s: not s["busy"])
    later = page.window.locator('[data-answer="discard"]')
    if later.count():
        later.click()
