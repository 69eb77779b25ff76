"""Scoring over HTTP: how sure the model is, what annotators changed, and that no jobs pile up."""

from __future__ import annotations

import json
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lib.scoring.dice import DETAILS, DiceScoring
from lib.studies.datastore import StudiesDatastore
from support.app_scans import BIDS_SCAN, FLAT_SCAN, NESTED_SCAN, SHAPE, head, lesion, save
from support.app_server import Server

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

GOOD = {BIDS_SCAN, FLAT_SCAN, NESTED_SCAN}


def info_of(server: Server, image: str) -> dict:
    return server.get("/datastore/image/info", params={"image": image}).json()


def submit(server: Server, image: str, mask: np.ndarray, folder: Path, tag: str) -> None:
    path = save(folder / f"{tag}.nii.gz", mask.astype(np.uint8))
    answer = server.put(
        "/datastore/label",
        params={"image": image, "tag": tag},
        data={"params": json.dumps({"client_id": "ann", "label_info": [{"name": "lesion", "idx": 1}]})},
        files={"label": (path.name, path.read_bytes())},
    )
    assert answer.status_code == 200, answer.text


def test_every_scan_gets_a_score_by_the_active_weights_or_a_reason(server: Server) -> None:
    answer = server.post("/scoring/uncertainty", params={"run_sync": True}, json={"device": "cpu"})
    assert answer.status_code == 200, answer.text
    assert "constant" in answer.json()["failed"] and answer.json()["scored"] >= len(GOOD)
    weights = answer.json()["weights_sha256"]
    for image in GOOD:
        record = info_of(server, image)["uncertainty"]
        assert record["weights_sha256"] == weights and record["reason"] is None
        assert 0 <= record["score"] < 2 and len(record["descriptor"]) > 3
    for image in ("corrupt", "nan", "four-dimensional"):
        record = info_of(server, image)["uncertainty"]
        assert record["score"] is None and record["reason"].startswith(image)
        assert str(server.studies) not in record["reason"]
    assert server.get("/datastore/", params={"output": "all"}).status_code == 200


def test_scans_that_have_a_score_are_not_scored_again(server: Server) -> None:
    server.post("/scoring/uncertainty", params={"run_sync": True}, json={"device": "cpu"})
    again = server.post("/scoring/uncertainty", params={"run_sync": True}, json={"device": "cpu"}).json()
    assert again["scored"] == 0 and again["failed"] == {}


def test_strategies_use_the_scores_and_offer_readable_scans_first(server: Server) -> None:
    server.post("/scoring/uncertainty", params={"run_sync": True}, json={"device": "cpu"})
    for strategy in ("uncertainty", "diversity"):
        sample = server.post(f"/activelearning/{strategy}", json={}).json()
        assert sample["uncertainty"]["reason"] is None
        assert Path(sample["path"]).is_file() and sample["name"].startswith(sample["id"])
    assert set(server.get("/info/").json()["strategies"]) == {"random", "first", "uncertainty", "diversity"}


def test_a_new_scan_is_scored_in_the_background_by_a_single_job(server: Server, tmp_path: Path) -> None:
    server.post("/scoring/uncertainty", params={"run_sync": True}, json={"device": "cpu"})
    files = {"file": ("new-scan.nii.gz", _scan(tmp_path))}
    assert server.put("/datastore/image", params={"image": "new-scan"}, files=files).status_code == 200
    try:
        for _ in range(6):
            server.post("/activelearning/uncertainty", json={})
        asked = [server.post("/scoring/uncertainty", json={}) for _ in range(6)]
        assert {answer.status_code for answer in asked} == {200}
        jobs = _finished_jobs(server)
        assert len(jobs) <= 2 and {job["status"] for job in jobs} == {"DONE"}, jobs
        assert info_of(server, "new-scan")["uncertainty"]["score"] >= 0
        server.post("/activelearning/uncertainty", json={})  # nothing is stale: nothing to start
        assert len(_finished_jobs(server)) == len(jobs)
    finally:
        assert server.delete("/datastore/image?id=new-scan").status_code == 200


def test_the_dice_of_a_label_that_cannot_be_compared_is_a_reason_and_no_obstacle(tmp_path: Path) -> None:
    store = StudiesDatastore(str(tmp_path / "studies"))
    truth = lesion(1).astype(np.uint8)
    good, odd, both_empty = "good", "odd", "empty"
    for name in (good, odd, both_empty):
        save(tmp_path / f"studies/{name}.nii.gz", head(1))
    store.refresh()
    shifted = truth.copy()
    shifted[:, :, :-1] = truth[:, :, 1:]
    none = np.zeros(SHAPE, np.uint8)
    for name, final, original in (
        (good, truth, shifted),
        (odd, truth, truth),
        (both_empty, none, none),
    ):
        store.save_label(name, str(save(tmp_path / "f.nii.gz", final)), "final", {})
        store.save_label(name, str(save(tmp_path / "o.nii.gz", original)), "original", {})
    save(
        Path(store.get_label_uri(odd, "original")), truth[:-1]
    )  # replaced by hand: submitted, it would be refused
    task = DiceScoring()
    assert task.is_due(store)
    answer = task({}, store)
    overlap = 2 * np.count_nonzero(truth & shifted) / (truth.sum() + shifted.sum())
    assert answer["dice"] == {good: pytest.approx(overlap, abs=1e-3), both_empty: 1.0}
    assert list(answer["failed"]) == [odd] and "shape" in answer["failed"][odd]
    details = store.get_image_info(good)[DETAILS]
    assert details["added_ml"] > 0 and details["removed_ml"] > 0 and details["reason"] is None
    assert store.get_image_info(odd)["dice"] is None
    assert not task.is_due(store)
    json.dumps(store.json(), allow_nan=False)


def test_the_report_shows_who_labelled_what_and_what_was_changed(server: Server, tmp_path: Path) -> None:
    server.put(
        "/datastore/image", params={"image": "reported"}, files={"file": ("reported.nii.gz", _scan(tmp_path))}
    )
    truth = lesion(6)
    predicted = truth.copy()
    predicted[:, :, : int(np.argwhere(truth)[:, 2].mean())] = False
    submit(server, "reported", predicted, tmp_path, "original")
    submit(server, "reported", truth, tmp_path, "final")
    try:
        report = server.get("/report/annotations", params={"format": "json"}).json()
        (row,) = [row for row in report["annotations"] if row["image"] == "reported"]
        voxel_ml = abs(np.linalg.det(nib.load(tmp_path / "final.nii.gz").affine)) / 1000
        assert row["annotators"] == "ann" and row["removed_ml"] == 0
        assert row["added_ml"] == pytest.approx((truth & ~predicted).sum() * voxel_ml, rel=1e-3)
        assert "reported" in server.get("/report/annotations", params={"format": "tsv"}).text
        page = server.get("/report/annotations")
        assert page.headers["content-type"].startswith("text/html") and "data:image/png;base64" in page.text
        assert server.get("/report/annotations", params={"format": "pdf"}).status_code == 422
    finally:
        assert server.delete("/datastore/image?id=reported").status_code == 200


@pytest.mark.parametrize("run_sync", [True, False])
def test_an_unknown_scoring_method_is_refused_with_the_names_of_those_there_are(
    server: Server, run_sync: bool
) -> None:
    answer = server.post("/scoring/sum", params={"run_sync": run_sync}, json={})
    assert answer.status_code == 404 and "dice, uncertainty" in answer.json()["detail"]


def test_an_impossible_device_is_refused(server: Server) -> None:
    answer = server.post("/scoring/uncertainty", params={"run_sync": True}, json={"device": "nonsense"})
    assert answer.status_code == 400, answer.text


def _finished_jobs(server: Server) -> list[dict]:
    """All scoring jobs, once none waits or runs."""
    deadline = time.monotonic() + 180
    jobs = server.get("/scoring/", params={"all": True}).json()
    while {job["status"] for job in jobs} & {"SUBMITTED", "RUNNING"} and time.monotonic() < deadline:
        time.sleep(0.3)
        jobs = server.get("/scoring/", params={"all": True}).json()
    return jobs


def _scan(folder: Path) -> bytes:
    return save(folder / "reported.nii.gz", head(6)).read_bytes()
