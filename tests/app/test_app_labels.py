"""Submitted labels over HTTP: checked, brought to the scan's grid, kept with history, written as BIDS derivatives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests

from support.app_scans import (
    BAD_SCANS,
    BIDS_SCAN,
    FLAT_SCAN,
    NESTED_SCAN,
    SHAPE,
    lesion,
    oblique_affine,
    save,
)
from support.app_server import Server
from support.app_train import wait_for
from support.label_data import write_segmentation
from support.turned_grids import reordered

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

LESION = [{"name": "lesion", "idx": 1}]
DERIVATIVE = "sub-07/ses-2/anat/sub-07_ses-2_space-orig_label-L_desc-T2wlesion_mask"
SCANS = (BIDS_SCAN, FLAT_SCAN, NESTED_SCAN)


@pytest.fixture(autouse=True)
def _without_labels(server: Server) -> Iterator[None]:
    """Other tests of this server find no labels."""
    yield
    for scan in SCANS:
        for tag in server.get("/datastore/?output=all").json()["objects"][scan]["labels"]:
            assert server.delete("/datastore/label", params={"id": scan, "tag": tag}).ok


def submit(
    server: Server, file: Path, scan: str = BIDS_SCAN, tag: str = "final", **params: Any
) -> requests.Response:
    return server.put(
        "/datastore/label",
        params={"image": scan, "tag": tag},
        data={"params": json.dumps({"label_info": LESION, "client_id": "zoe", **params})},
        files={"label": (file.name, file.read_bytes())},
    )


def label_info(server: Server, scan: str = BIDS_SCAN, tag: str = "final") -> dict[str, Any]:
    return server.get("/datastore/label/info", params={"label": scan, "tag": tag}).json()


def kept(server: Server, scan: str = BIDS_SCAN, tag: str = "final") -> np.ndarray:
    return np.asarray(nib.load(server.studies / f"labels/{tag}/{scan}.nii.gz").dataobj)


def history(server: Server, scan: str = BIDS_SCAN) -> list[dict[str, Any]]:
    answer = server.get("/datastore/label/history", params={"image": scan, "tag": "final"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_flipped_segmentation_is_kept_on_the_scans_own_grid(server: Server, tmp_path: Path) -> None:
    data, affine = reordered(lesion(1), oblique_affine(), np.array([[1, 1], [0, -1], [2, -1]]))
    assert (
        submit(server, write_segmentation(tmp_path / "x.seg.nrrd", {"lesion": data}, affine)).status_code
        == 200
    )
    assert np.array_equal(kept(server), lesion(1))
    written = nib.load(server.studies / f"labels/final/{BIDS_SCAN}.nii.gz")
    image = nib.load(server.studies / f"sub-07/ses-2/anat/{BIDS_SCAN}.nii.gz")
    assert np.array_equal(written.affine, image.affine) and written.get_data_dtype() == np.uint8
    assert label_info(server)["client_id"] == "zoe"


def _text(path: Path) -> Path:
    path.write_text("a headache")
    return path


BAD_LABELS = {
    "other shape": lambda path: save(path, np.ones((5, 6, 7), np.uint8)),
    "other place": lambda path: save(path, np.ones(SHAPE, np.uint8), np.diag([1.9, 1.6, 3.4, 1])),
    "fractions": lambda path: save(path, np.full(SHAPE, 0.3, np.float32)),
    "NaN": lambda path: save(path, np.full(SHAPE, np.nan, np.float32)),
    "unknown values": lambda path: save(path, np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16) % 9),
    "four axes": lambda path: save(path, np.ones((*SHAPE, 2), np.uint8)),
    "text": _text,
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_a_label_that_does_not_fit_is_refused_and_the_one_before_stays(
    server: Server, kind: str, tmp_path: Path
) -> None:
    good = save(tmp_path / "good.nii.gz", lesion(1).astype(np.uint8))
    assert submit(server, good).status_code == 200
    answer = submit(server, BAD_LABELS[kind](tmp_path / "bad.nii.gz"))
    detail = answer.json()["detail"]
    assert answer.status_code == 400 and "expected" in detail and "\n" not in detail
    assert str(server.temporary) not in detail and str(server.studies) not in detail
    assert np.array_equal(kept(server), lesion(1)) and server.get("/info/").status_code == 200


def test_a_label_of_an_unreadable_scan_is_refused(server: Server, tmp_path: Path) -> None:
    good = save(tmp_path / "good.nii.gz", lesion(1).astype(np.uint8))
    assert "text" in BAD_SCANS
    assert submit(server, good, "text").status_code == 422
    assert submit(server, good, "nobody").status_code == 404


def test_an_overwritten_and_a_deleted_label_can_be_had_back(server: Server, tmp_path: Path) -> None:
    before = len(history(server))
    masks = [lesion(seed).astype(np.uint8) for seed in (1, 2)]
    for number, mask in enumerate(masks):
        assert submit(server, save(tmp_path / f"{number}.nii.gz", mask), time_spent_s=40 + number).ok
    versions = history(server)
    assert len(versions) == before + 2 and versions[0]["client_id"] == "zoe"
    assert [version["info"]["time_spent_s"] for version in versions[:2]] == [41, 40]

    def restore(version: str) -> requests.Response:
        return server.post("/datastore/label/restore", json={"image": BIDS_SCAN, "version": version})

    assert restore(versions[1]["version"]).status_code == 200
    assert np.array_equal(kept(server), masks[0]) and label_info(server)["time_spent_s"] == 40
    assert server.delete("/datastore/label", params={"id": BIDS_SCAN, "tag": "final"}).ok
    assert label_info(server) == {} and "deleted" in history(server)[0]
    assert restore(versions[0]["version"]).status_code == 200
    assert np.array_equal(kept(server), masks[1])
    assert restore("20010101T000000.000000Z").status_code == 404
    assert restore("../../x").status_code == 404


def test_a_final_label_is_a_bids_derivative_until_it_is_deleted(server: Server, tmp_path: Path) -> None:
    assert submit(server, save(tmp_path / "x.nii.gz", lesion(1).astype(np.uint8))).ok
    folder = server.studies / "derivatives/strokelabel"
    mask, sidecar = (
        nib.load(folder / f"{DERIVATIVE}.nii.gz"),
        json.loads((folder / f"{DERIVATIVE}.json").read_text()),
    )
    assert np.array_equal(mask.dataobj, lesion(1))
    assert np.allclose(mask.affine, oblique_affine(), atol=1e-5)
    assert sidecar["Type"] == "Lesion" and sidecar["Manual"] is True and sidecar["client_id"] == "zoe"
    assert sidecar["Sources"] == [f"bids:raw:sub-07/ses-2/anat/{BIDS_SCAN}.nii.gz"]
    assert sidecar["volume_ml"] == pytest.approx(lesion(1).sum() * 1.9 * 1.6 * 3.4 / 1000)
    assert json.loads((folder / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    assert BIDS_SCAN in server.get("/datastore/?output=all").json()["objects"]
    assert server.delete("/datastore/label", params={"id": BIDS_SCAN, "tag": "final"}).ok
    assert not list(folder.rglob("*_mask*"))


def test_a_version_of_a_reviewer_may_be_reviewed_and_an_extra_tag_may_not(
    server: Server, tmp_path: Path
) -> None:
    file = save(tmp_path / "x.nii.gz", lesion(1).astype(np.uint8))
    meta = {"params": '{"segmentationMeta": {"status": "approved", "level": "easy"}}'}
    for tag, status in (("version_1", 200), ("second reader", 400)):
        assert submit(server, file, tag=tag).ok
        where = {"label": BIDS_SCAN, "tag": tag}
        assert server.put("/datastore/updatelabelinfo", params=where, data=meta).status_code == status
    assert submit(server, file, tag="other", segmentationMeta={"status": "approved"}).status_code == 400


def batch(server: Server, **params: Any) -> requests.Response:
    stock = {"device": "cuda", "multi_gpu": True, "gpus": "all", "logging": "WARNING", "save_label": True,
             "label_tag": "original", "max_workers": 1, "max_batch_size": 0}  # fmt: skip
    return server.post("/batch/infer/segment", params={"run_sync": True}, json={**stock, **params})


def test_a_batch_labels_what_it_can_by_monai_labels_own_defaults_and_goes_on_later(server: Server) -> None:
    rows = batch(server).json()
    assert {scan for scan, row in rows.items() if row["status"] == "failed"} == set(BAD_SCANS)
    assert all(row["problem"].startswith(scan) for scan, row in rows.items() if row["status"] == "failed")
    assert all(rows[scan]["status"] == "done" and rows[scan]["volume_ml"] > 0 for scan in SCANS)
    info = label_info(server, BIDS_SCAN, "original")
    made_by = info["provenance"]
    assert (
        info["status"] == "pseudo" and len(made_by["weights_sha256"]) == 64 and made_by["task"] == "segment"
    )
    assert made_by["mean_confidence"] > 0.5 and made_by["options"]["tta"] is False
    assert batch(server, images=list(SCANS)).json() == {scan: {"status": "kept"} for scan in SCANS}
    other = batch(server, images=[BIDS_SCAN], min_size_ml=0.001).json()
    assert other[BIDS_SCAN]["status"] == "done"


def test_a_batch_never_writes_over_what_a_person_submitted(server: Server, tmp_path: Path) -> None:
    assert submit(server, save(tmp_path / "mask.nii.gz", lesion(1).astype(np.uint8))).ok
    before = server.get("/datastore/label", params={"label": BIDS_SCAN, "tag": "final"}).content
    row = batch(server, images=[BIDS_SCAN], label_tag="final").json()[BIDS_SCAN]
    assert row["status"] == "failed" and "made or reviewed by a person" in row["problem"]
    assert server.get("/datastore/label", params={"label": BIDS_SCAN, "tag": "final"}).content == before


def test_a_batch_in_its_own_process_can_be_stopped_goes_on_and_tells_how_far_it_is(server: Server) -> None:
    def start() -> None:
        assert server.post("/batch/infer/segment", json={"images": [BIDS_SCAN, FLAT_SCAN, "constant"]}).ok
        wait_for(lambda: server.get("/batch/infer").json()["status"] == "RUNNING", 60)

    start()
    assert server.post("/batch/infer/segment").status_code == 429
    assert server.delete("/batch/infer").json()["status"] == "STOPPED"
    assert batch(server, images=[FLAT_SCAN]).ok
    start()
    wait_for(lambda: server.get("/batch/infer").json()["status"] != "RUNNING", 120)
    task = server.get("/batch/infer").json()
    lines = "\n".join(task["details"])
    assert task["status"] == "DONE" and f"2 of 3: {FLAT_SCAN}: has such a label already" in lines
    assert f"1 of 3: {BIDS_SCAN}: " in lines and "3 of 3: constant: constant: expected contrast" in lines
    assert label_info(server, BIDS_SCAN, "original")["status"] == "pseudo"


def test_an_impossible_batch_is_refused_before_it_starts(server: Server) -> None:
    assert server.post("/batch/infer/nobody").status_code == 404
    for params, status in (({"images": "some"}, 400), ({"images": ["nobody"]}, 404), ({"tta": "perhaps"}, 400),
                           ({"label_tag": "../x"}, 400), ({"max_batch_size": -1}, 400)):  # fmt: skip
        assert batch(server, **params).status_code == status, params


def decide(server: Server, status: str, **more: Any) -> requests.Response:
    return server.put("/datastore/label/status", json={"image": BIDS_SCAN, "status": status, **more})


def test_a_pseudo_label_is_accepted_as_the_final_label_and_rejected_again(server: Server) -> None:
    assert decide(server, "accepted").status_code == 404
    assert batch(server, images=[BIDS_SCAN]).ok
    assert decide(server, "perhaps").status_code == 422
    assert decide(server, "accepted", client_id="zoe", comment="fine").ok
    final = label_info(server)
    assert final["status"] == "accepted" and final["review"]["client_id"] == "zoe" and "provenance" in final
    assert np.array_equal(kept(server), kept(server, tag="original"))
    sidecar = json.loads((server.studies / f"derivatives/strokelabel/{DERIVATIVE}.json").read_text())
    assert sidecar["Manual"] is False and sidecar["provenance"]["weights_sha256"]
    assert server.get("/info/").json()["datastore"]["completed"] == 1
    assert decide(server, "rejected", comment="vessel").ok
    assert label_info(server) == {} and label_info(server, tag="original")["review"]["comment"] == "vessel"
    assert server.get("/info/").json()["datastore"]["completed"] == 0


def test_a_submitted_label_says_what_it_made_of_the_pseudo_label(server: Server, tmp_path: Path) -> None:
    assert batch(server, images=[BIDS_SCAN]).ok
    drawn = kept(server, tag="original")
    changed = drawn.copy()
    changed[tuple(np.argwhere(drawn)[0])] = 0
    for mask, status in ((drawn, "accepted"), (changed, "corrected")):
        assert submit(server, save(tmp_path / f"{status}.nii.gz", mask)).ok
        review = label_info(server)["review"]
        assert label_info(server)["status"] == label_info(server, tag="original")["status"] == status
        assert review["changed_ml"] == pytest.approx((mask != drawn).sum() * 1.9 * 1.6 * 3.4 / 1000, abs=1e-6)
        assert review["dice"] == pytest.approx(
            2 * (mask & drawn).sum() / (mask.sum() + drawn.sum()), abs=1e-6
        )
    assert decide(server, "accepted").status_code == 409
    assert server.delete("/datastore/label", params={"id": BIDS_SCAN, "tag": "final"}).ok
    assert label_info(server, tag="original")["status"] == "pseudo"
