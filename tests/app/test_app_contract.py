"""What the stock viewers send and expect, rule by rule: the 3D Slicer plugin, its Reviewer, and OHIF."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nrrd
import numpy as np
import pytest

from strokelabel.metrics import dice
from support.app_scans import BIDS_SCAN, head, lesion, save
from support.app_server import Server, multipart

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

SERIES = ("1.2.840.113619.2.55.3.1", "1.2.840.113619.2.55.3.2")
"""OHIF calls an image by its SeriesInstanceUID."""


@pytest.fixture
def uploaded(server: Server, tmp_path: Path) -> Iterator[list[str]]:
    """Two images under ids that differ behind their last dot only."""
    for seed, uid in enumerate(SERIES):
        volume = save(tmp_path / f"{seed}.nii.gz", head(seed))
        answer = server.put("/datastore/image", params={"image": uid}, files={"file": volume.open("rb")})
        assert answer.status_code == 200, answer.text
    yield list(SERIES)
    for uid in SERIES:
        server.delete("/datastore/image", params={"id": uid})


def test_ohif_gets_the_raw_voxels_behind_the_header_of_a_nrrd(server: Server, tmp_path: Path) -> None:
    asked = {
        "result_extension": ".nrrd",
        "result_dtype": "uint8",
        "result_compress": False,
        "restore_label_idx": False,
    }
    params, name, content = multipart(server.infer("segment", BIDS_SCAN, "all", **asked))
    (tmp_path / name).write_bytes(content)
    voxels, header = nrrd.read(str(tmp_path / name), index_order="F")
    assert name.endswith(".nrrd") and header["type"] == "uint8" and header["encoding"] == "raw"
    assert content.endswith(voxels.tobytes(order="F"))
    assert params["label_names"] == {"lesion": 1}
    assert dice(lesion(1), voxels > 0) > 0.8


def test_ids_that_look_like_file_names_with_endings_are_kept_apart(
    server: Server, uploaded: list[str]
) -> None:
    for seed, uid in enumerate(uploaded):
        _, _, content = multipart(server.infer("segment", uid, result_extension=".nii"))
        found = np.frombuffer(content[352:], np.uint8).reshape(head().shape, order="F")
        assert dice(lesion(seed), found > 0) > 0.8


def test_deepedit_sends_points_under_the_name_of_each_label(server: Server) -> None:
    centre = [round(x) for x in np.argwhere(lesion(1)).mean(axis=0)]
    asked = {"lesion": [centre], "background": [], "result_extension": ".nii", "start": "nothing"}
    content = server.infer("refine", BIDS_SCAN, "image", **asked).content
    assert content[352:].count(b"\x01") > 0


def test_the_routes_of_older_plugins_still_store_and_delete_an_image(server: Server, tmp_path: Path) -> None:
    volume = save(tmp_path / "old.nii.gz", head(2))
    stored = server.put("/datastore/", params={"image": "old plugin"}, files={"file": volume.open("rb")})
    assert stored.status_code == 200 and stored.json()["image"] == "old plugin"
    assert "old plugin" in server.get("/datastore/?output=all").json()["objects"]
    assert server.delete("/datastore/", params={"id": "old plugin"}).status_code == 200
    assert "old plugin" not in server.get("/datastore/?output=all").json()["objects"]


def test_what_the_reviewer_writes_about_a_label_is_where_it_reads_it(
    server: Server, uploaded: list[str]
) -> None:
    image = uploaded[0]
    mask = server.infer("segment", image, "image").content
    server.put(
        "/datastore/label", params={"image": image, "tag": "final"}, files={"label": ("mask.nii.gz", mask)}
    )
    meta = {"segmentationMeta": {"status": "approved", "level": "easy", "approvedBy": "R", "comment": "fine"}}
    answer = server.put(
        "/datastore/updatelabelinfo",
        params={"label": image, "tag": "final"},
        data={"params": json.dumps(meta)},
    )
    assert answer.status_code == 200, answer.text
    labels = server.get("/datastore/?output=all").json()["objects"][image]["labels"]
    assert labels["final"]["info"]["segmentationMeta"]["status"] == "approved"


def test_the_next_sample_names_what_viewers_open_and_is_empty_when_nothing_is_left(server: Server) -> None:
    sample = server.post("/activelearning/random", json={"client_id": "annotator"}).json()
    assert {"id", "path", "name"} <= set(sample)
    assert Path(sample["path"]).is_file()
