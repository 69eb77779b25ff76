"""The datastore finds scans in BIDS folders and keeps labels as the stock viewers expect."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from support.app_scans import BAD_SCANS, BIDS_SCAN, FLAT_SCAN, NESTED_SCAN, head, lesion, oblique_affine, save
from support.app_server import Server
from support.label_data import write_nrrd

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]


def objects(server: Server) -> dict:
    return server.get("/datastore/?output=all").json()["objects"]


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def test_scans_in_sub_folders_are_listed_and_masks_and_derivatives_are_not(server: Server) -> None:
    assert set(objects(server)) == {BIDS_SCAN, FLAT_SCAN, NESTED_SCAN, *BAD_SCANS}
    assert server.get("/info/").json()["datastore"]["total"] == 3 + len(BAD_SCANS)


def test_the_listing_has_the_shape_that_the_reviewer_reads(server: Server) -> None:
    entry = objects(server)[BIDS_SCAN]
    assert entry["image"]["ext"] == ".nii.gz" and entry["image"]["info"]["name"] == f"{BIDS_SCAN}.nii.gz"
    assert entry["labels"] == {}


def test_a_listed_scan_can_be_downloaded(server: Server) -> None:
    file = server.studies / f"sub-07/ses-2/anat/{BIDS_SCAN}.nii.gz"
    assert server.get("/datastore/image", params={"image": BIDS_SCAN}).content == file.read_bytes()


def test_a_scan_that_is_dropped_into_a_sub_folder_appears_and_vanishes_with_its_file(server: Server) -> None:
    file = save(server.studies / "sub-08/anat/sub-08_FLAIR.nii.gz", head(8))
    assert eventually(lambda: "sub-08_FLAIR" in objects(server))
    file.unlink()
    assert eventually(lambda: "sub-08_FLAIR" not in objects(server))


@pytest.mark.parametrize("route", ["/datastore/image", "/datastore/"])
def test_an_uploaded_scan_is_listed_segmented_and_deleted(server: Server, route: str, tmp_path: Path) -> None:
    content = save(tmp_path / "x.nii.gz", head(1)).read_bytes()
    image = {"image": "Volume 3.1 (T2)"}
    assert server.put(route, params=image, files={"file": ("x.nii.gz", content)}).json() == image
    assert server.get("/datastore/image", params=image).content == content
    assert server.infer("segment", image["image"]).status_code == 200
    assert server.delete(route, params={"id": image["image"]}).status_code == 200
    assert image["image"] not in objects(server)


def test_the_same_upload_twice_is_fine_and_another_one_of_that_name_is_refused(
    server: Server, tmp_path: Path
) -> None:
    first, second = (save(tmp_path / f"{n}.nii.gz", head(n)).read_bytes() for n in (1, 2))

    def upload(content: bytes) -> int:
        files = {"file": ("twice.nii.gz", content)}
        return server.put("/datastore/image?image=twice", files=files).status_code

    assert [upload(first), upload(first), upload(second)] == [200, 200, 409]
    assert server.get("/datastore/image?image=twice").content == first
    assert server.delete("/datastore/image?id=twice").status_code == 200


def test_a_label_is_kept_with_its_info_and_replaced_by_a_later_one_of_another_kind(
    server: Server, tmp_path: Path
) -> None:
    mask = lesion(3).astype(np.uint8)
    files = [
        save(tmp_path / "label.nii.gz", 1 - mask),
        write_nrrd(tmp_path / "label.nrrd", mask, oblique_affine()),
    ]
    where = {"image": FLAT_SCAN, "tag": "final"}
    for file in files:
        answer = server.put(
            "/datastore/label",
            params=where,
            data={"params": '{"client_id": "me", "label_info": [{"name": "lesion", "idx": 1}]}'},
            files={"label": (file.name, file.read_bytes())},
        )
        assert answer.json() == {"image": FLAT_SCAN, "label": FLAT_SCAN}
    review = {"label": FLAT_SCAN, "tag": "final"}, {"params": '{"segmentationMeta": {"status": "approved"}}'}
    assert server.put("/datastore/updatelabelinfo", params=review[0], data=review[1]).status_code == 200
    label = objects(server)[FLAT_SCAN]["labels"]["final"]
    kept = nib.load(server.studies / f"labels/final/{FLAT_SCAN}.nii.gz")
    assert np.array_equal(kept.dataobj, mask) and kept.get_data_dtype() == np.uint8
    assert label["ext"] == ".nii.gz" and label["info"]["client_id"] == "me"
    assert label["info"]["segmentationMeta"] == {"status": "approved"}
    assert server.get("/info/").json()["datastore"] | {"total": 0} == {
        "total": 0,
        "completed": 1,
        "label_tags": {"final": 1},
        "left_out": [],
        "left_out_total": 0,
    }
    assert server.get("/datastore/?output=train").json() == [
        {
            "image": str(server.studies / f"{FLAT_SCAN}.nii"),
            "label": str(server.studies / f"labels/final/{FLAT_SCAN}.nii.gz"),
        }
    ]
    assert server.delete("/datastore/label", params={"id": FLAT_SCAN, "tag": "final"}).status_code == 200
    assert objects(server)[FLAT_SCAN]["labels"] == {}
    assert not list((server.studies / "labels/final").iterdir())


def test_what_a_client_writes_about_an_image_cannot_move_it(server: Server) -> None:
    where = {"image": BIDS_SCAN}
    info = {
        "info": '{"name": "../../secret.nii.gz", "path": "/etc", "folder": "..", "remark": "left-handed"}'
    }
    assert server.put("/datastore/image/info", params=where, data=info).status_code == 200
    known = server.get("/datastore/image/info", params=where).json()
    assert known["remark"] == "left-handed"
    assert Path(known["path"]) == server.studies / f"sub-07/ses-2/anat/{BIDS_SCAN}.nii.gz"
    assert server.put(
        "/datastore/image/info", params=where, data={"info": f'{{"name": "{BIDS_SCAN}.nii.gz"}}'}
    ).ok


def test_next_sample_answers_many_times_within_a_second(server: Server) -> None:
    answers = [server.post("/activelearning/random", json={}).json() for _ in range(25)]
    offered = {answer["id"] for answer in answers}
    assert offered <= set(objects(server)) and len(offered) > 1
    for answer in answers:
        assert Path(answer["path"]).is_file() and answer["name"].startswith(answer["id"])


def test_first_is_the_first_in_alphabetical_order(server: Server) -> None:
    assert server.post("/activelearning/first", json={}).json()["id"] == min(objects(server))
