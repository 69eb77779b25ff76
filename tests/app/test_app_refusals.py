"""What cannot be done is refused with a 4xx and one sentence, and the server goes on serving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from support.app_scans import BAD_SCANS, BIDS_SCAN, head, save
from support.app_server import Server

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]


def refusal(server: Server, answer: requests.Response) -> tuple[int, str]:
    """The status and the sentence, once it is clear that there is one and that the server still serves."""
    detail = answer.json()["detail"]
    assert isinstance(detail, str) and detail.strip() and "\n" not in detail
    assert str(server.studies) not in detail and str(server.temporary) not in detail
    assert server.get("/info/").status_code == 200
    return answer.status_code, detail


@pytest.mark.parametrize("task", ["segment", "segment_tissues"])
@pytest.mark.parametrize("scan", BAD_SCANS)
def test_a_scan_that_cannot_be_segmented_is_refused_by_name(server: Server, scan: str, task: str) -> None:
    status, detail = refusal(server, server.infer(task, scan))
    assert status == 422 and detail.startswith(scan)


@pytest.mark.parametrize("scan", BAD_SCANS)
def test_an_upload_that_cannot_be_segmented_is_refused(server: Server, scan: str, tmp_path: Path) -> None:
    BAD_SCANS[scan](tmp_path / "upload.nii.gz")
    status, detail = refusal(server, server.infer("segment", file=tmp_path / "upload.nii.gz"))
    assert status == 422 and "uploaded file" in detail


@pytest.mark.parametrize("scan", BAD_SCANS)
def test_an_image_that_cannot_be_segmented_is_not_taken_into_the_datastore(
    server: Server, scan: str, tmp_path: Path
) -> None:
    file = tmp_path / "upload.nii.gz"
    BAD_SCANS[scan](file)
    answer = server.put("/datastore/image?image=new", files={"file": (file.name, file.read_bytes())})
    assert refusal(server, answer)[0] == 422
    assert not list(server.studies.rglob("*new*"))


def test_an_unknown_image_is_not_found(server: Server) -> None:
    status, detail = refusal(server, server.infer("segment", "nobody"))
    assert status == 404 and "'nobody'" in detail


def test_an_unknown_model_is_not_found_and_the_models_are_named(server: Server) -> None:
    status, detail = refusal(server, server.infer("deepgrow", BIDS_SCAN))
    assert status == 404 and "segment, segment_accurate, segment_adapted, segment_ensemble" in detail


def test_an_unknown_session_is_not_found(server: Server) -> None:
    assert refusal(server, server.infer("segment", session="00000000-0000"))[0] == 404


def test_a_file_that_is_not_nifti_is_refused(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("a headache")
    assert refusal(server, server.infer("segment", file=file))[0] == 422
    answer = server.put("/datastore/image?image=notes", files={"file": (file.name, file.read_bytes())})
    assert refusal(server, answer)[0] == 415


@pytest.mark.parametrize(
    "options",
    [
        {"tta": "perhaps"},
        {"threshold": "high"},
        {"threshold": 1.5},
        {"min_size_ml": "NaN"},
        {"min_size_ml": -1},
        {"device": "nonsense"},
        {"device": 3},
        {"result_extension": ".exe"},
        {"result_dtype": "object"},
        {"result_compress": "maybe"},
        {"image": 7},
    ],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_refused_by_name(server: Server, options: dict[str, Any]) -> None:
    status, detail = refusal(server, server.infer("segment", BIDS_SCAN, **options))
    assert status == 400 and next(iter(options)) in detail.replace("lesion size", "min_size_ml")


@pytest.mark.parametrize("params", ["{", "[1, 2]", "null", "3"])
def test_options_that_are_not_a_json_object_are_refused(server: Server, params: str) -> None:
    answer = server.post("/infer/segment", params={"image": BIDS_SCAN}, data={"params": params})
    assert refusal(server, answer)[0] == 400


@pytest.fixture
def outside(server: Server) -> Path:
    """A perfectly good scan beside the studies folder."""
    return save(server.studies.parent / "outside.nii.gz", head())


@pytest.mark.parametrize(
    "way", ["absolute", "relative", "without suffix", "inside by path", "in params", "folder"]
)
def test_a_path_in_the_place_of_an_image_id_is_never_opened(server: Server, outside: Path, way: str) -> None:
    image, params = {
        "absolute": (str(outside), {}),
        "relative": ("../outside.nii.gz", {}),
        "without suffix": ("../outside", {}),
        "inside by path": (str(server.studies / "patient-3/T1.nii.gz"), {}),
        "in params": (BIDS_SCAN, {"image": str(outside)}),
        "folder": (str(server.studies), {}),
    }[way]
    assert refusal_status(server.infer("segment", image, **params)) == 404


def test_the_route_for_slides_opens_no_path_either(server: Server, outside: Path) -> None:
    answer = server.post("/infer/wsi_v2/segment", params={"image": str(outside)})
    assert refusal_status(answer) == 404


def test_a_file_among_the_temporary_files_is_not_an_upload(server: Server) -> None:
    stranger = save(server.temporary / "somebody-elses.nii.gz", head())
    assert refusal_status(server.infer("segment", str(stranger))) == 404
    assert stranger.exists()
    stranger.unlink()


def refusal_status(answer: requests.Response) -> int:
    assert isinstance(answer.json()["detail"], str)
    return answer.status_code


@pytest.mark.parametrize(
    "image", ["../escaped", "/tmp/escaped", "a/b", "..\\escaped", ".hidden", "x" * 300, "a\nb"]
)
def test_an_image_is_not_stored_under_an_id_that_is_a_path(
    server: Server, image: str, tmp_path: Path
) -> None:
    content = save(tmp_path / "good.nii.gz", head()).read_bytes()
    before = everything_around(server)
    answer = server.put("/datastore/image", params={"image": image}, files={"file": ("good.nii.gz", content)})
    assert refusal_status(answer) == 400
    assert everything_around(server) == before


@pytest.mark.parametrize("tag", ["../../escaped", "/tmp/escaped", ".hidden", "a/b"])
def test_a_label_is_not_stored_under_a_tag_that_is_a_path(server: Server, tag: str, tmp_path: Path) -> None:
    content = save(tmp_path / "label.nii.gz", head()).read_bytes()
    before = everything_around(server)
    answer = server.put(
        "/datastore/label", params={"image": BIDS_SCAN, "tag": tag}, files={"label": ("l.nii.gz", content)}
    )
    assert refusal_status(answer) == 400
    kept = server.infer("segment", BIDS_SCAN, save_label=True, label_tag=tag)
    assert refusal_status(kept) == 400
    assert everything_around(server) == before


def everything_around(server: Server) -> set[Path]:
    return {
        path for path in server.studies.parent.rglob("*") if path.name not in ("datastore_v2.json", ".lock")
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/datastore/image?id=nobody"),
        ("PUT", "/datastore/image/info?image=nobody"),
        ("PUT", f"/datastore/label/info?label={BIDS_SCAN}&tag=none"),
        ("PUT", f"/datastore/updatelabelinfo?label={BIDS_SCAN}&tag=none"),
        ("GET", "/datastore/image?image=nobody"),
        ("GET", "/datastore/image?image=../outside"),
        ("GET", f"/datastore/label?label={BIDS_SCAN}&tag=none"),
        ("POST", "/activelearning/unknown"),
        ("GET", "/model/segment"),
    ],
)
def test_what_does_not_exist_is_not_found(server: Server, method: str, path: str) -> None:
    answer = requests.request(method, server.url + path, timeout=60)
    assert refusal(server, answer)[0] == 404


def test_numbers_that_json_does_not_have_cannot_spoil_the_listing(server: Server) -> None:
    body = {"info": json.dumps({"score": float("nan")})}
    answer = server.put("/datastore/image/info", params={"image": BIDS_SCAN}, data=body)
    assert refusal_status(answer) == 400
    assert server.get("/datastore/?output=all").status_code == 200
