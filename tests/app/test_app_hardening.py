"""Every request that a stock server answers with "500 Internal Server Error" gets a 4xx and one sentence, or works."""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests

from support.app_scans import BIDS_SCAN, FLAT_SCAN, SHAPE, lesion, save
from support.app_server import Server

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

JSON_TEXT = {"data": {"params": "{"}}
DEEP = "[" * 20_000 + "]" * 20_000


def sentence(answer: requests.Response) -> str:
    detail = answer.json()["detail"]
    assert isinstance(detail, str) and detail.strip() and "\n" not in detail
    assert "Traceback" not in detail and "site-packages" not in detail
    return detail


REFUSED: list[tuple[str, str, dict[str, Any], int]] = [
    ("POST", "/infer/nobody?image=x", {}, 404),
    ("POST", "/infer/segment?image=nobody", {}, 404),
    ("POST", "/infer/segment?session_id=nobody", {}, 404),
    ("POST", "/infer/segment?session_id=../..", {}, 404),
    ("POST", "/infer/segment", {}, 400),
    ("POST", f"/infer/segment?image={BIDS_SCAN}", {"data": {"params": "{"}}, 400),
    ("POST", f"/infer/segment?image={BIDS_SCAN}", {"data": {"params": "[1]"}}, 400),
    ("POST", f"/infer/segment?image={BIDS_SCAN}", {"data": {"params": '{"a": NaN}'}}, 400),
    ("POST", f"/infer/segment?image={BIDS_SCAN}", {"data": {"params": '{"a": 1e999}'}}, 400),
    ("POST", f"/infer/segment?image={BIDS_SCAN}", {"data": {"params": '{"a": "\\ud800"}'}}, 400),
    ("POST", f"/infer/segment?image={BIDS_SCAN}", {"data": {"params": DEEP}}, 400),
    ("POST", f"/infer/segment?image={BIDS_SCAN}", {"data": {"params": '{"device": "nonsense"}'}}, 400),
    ("POST", f"/infer/segment?image={BIDS_SCAN}", {"data": {"params": '{"model": "refine"}'}}, 400),
    ("POST", f"/infer/segment?image={BIDS_SCAN}&output=xyz", {}, 422),
    ("POST", f"/infer/segment?image={BIDS_SCAN}&output=dicom_seg", {}, 400),
    ("POST", "/infer/segment?image=a%00b", {}, 400),
    ("POST", "/infer/wsi_v2/nobody?image=x", {}, 404),
    ("POST", "/infer/wsi_v2/segment", {}, 400),
    ("POST", "/infer/wsi_v2/segment?image=nobody", {"data": {"wsi": "{"}}, 400),
    ("POST", f"/infer/wsi_v2/segment?image={BIDS_SCAN}", {"data": {"wsi": '{"level": "x"}'}}, 422),
    ("POST", "/infer/wsi/segment?image=nobody", {}, 404),
    ("POST", "/batch/infer/nobody", {}, 404),
    ("POST", "/batch/infer/segment?images=some", {}, 422),
    ("POST", "/batch/infer/segment", {"json": {"label_tag": "../x"}}, 400),
    ("POST", "/batch/infer/segment", {"json": {"device": "nonsense"}}, 400),
    ("POST", "/batch/infer/segment", {"json": {"bundle_path": "/tmp"}}, 403),
    ("POST", "/batch/infer/segment", {"json": {"gpus": 3}}, 400),
    ("POST", "/train/nobody", {}, 404),
    ("POST", "/train/nobody?run_sync=true", {}, 404),
    ("POST", "/train/segment", {"json": [1]}, 422),
    ("POST", "/train/segment", {"json": {"device": "nonsense"}}, 400),
    ("POST", "/train/segment", {"json": {"model": "other"}}, 400),
    ("POST", "/train/segment", {"json": {"name": "../../escaped"}}, 400),
    ("POST", "/train/segment", {"json": {"bundle_path": "/tmp"}}, 403),
    ("POST", "/train/segment", {"json": {"note": "x" * 100_000}}, 413),
    ("POST", "/train/segment", {"data": "{", "headers": {"Content-Type": "application/json"}}, 400),
    ("POST", "/train/segment", {"data": '{"a": NaN}', "headers": {"Content-Type": "application/json"}}, 400),
    ("POST", "/train/", {"json": {"nobody": {}}}, 404),
    ("POST", "/train/", {"json": {"segment": 3}}, 400),
    ("POST", "/activelearning/nobody", {}, 404),
    ("POST", "/activelearning/random", {"json": {"label_tag": [1]}}, 400),
    ("POST", "/activelearning/random", {"json": {"labels": 3}}, 400),
    ("POST", "/activelearning/random", {"json": {"client_id": {}}}, 400),
    ("POST", "/scoring/nobody", {}, 404),
    ("POST", "/scoring/nobody?run_sync=true", {}, 404),
    ("GET", "/model/nobody", {}, 404),
    ("GET", "/model/info/nobody", {}, 404),
    ("PUT", "/model/nobody", {"files": {"file": ("x.pt", b"junk")}}, 404),
    ("PUT", "/model/segment", {"files": {"file": ("x.pt", b"junk")}}, 403),
    ("DELETE", "/model/segment", {}, 403),
    ("POST", "/reload", {}, 403),
    ("PUT", "/datastore/image", {}, 422),
    ("PUT", "/datastore/image?image=new", {"files": {"file": ("x.nii", b"")}, "data": {"params": "{"}}, 400),
    ("PUT", "/datastore/?image=new", {"files": {"file": ("x.nii", b"")}, "data": {"params": "[]"}}, 400),
    ("PUT", "/datastore/image?image=new", {"files": {"file": ("x." + "n" * 300, b"")}}, 400),
    ("PUT", f"/datastore/label?image={BIDS_SCAN}", {"files": {"label": ("x.nii", b"")}, **JSON_TEXT}, 400),
    ("PUT", "/datastore/label?image=nobody", {"files": {"label": ("x.nii.gz", b"")}}, 404),
    ("PUT", f"/datastore/image/info?image={BIDS_SCAN}", {"data": {"info": "{"}}, 400),
    ("PUT", f"/datastore/image/info?image={BIDS_SCAN}", {"data": {"info": '{"strategy": 1}'}}, 400),
    ("PUT", "/datastore/image/info?image=nobody", {"data": {"info": "{}"}}, 404),
    ("PUT", "/datastore/label/info?label=nobody&tag=final", {"data": {"info": "{}"}}, 404),
    ("PUT", f"/datastore/updatelabelinfo?label={BIDS_SCAN}&tag=final", {"data": {"params": "{"}}, 400),
    ("DELETE", "/datastore/?id=nobody", {}, 404),
    ("DELETE", "/datastore/", {}, 422),
    ("GET", "/datastore/?output=xyz", {}, 422),
    ("GET", "/datastore/dataset?limit_cases=x", {}, 422),
    ("GET", "/session/nobody", {}, 404),
    ("GET", "/session/%2e%2e", {}, 404),
    ("DELETE", "/session/nobody", {}, 404),
    ("PUT", "/session/", {}, 422),
    ("GET", "/logs/?lines=-1", {}, 422),
    ("GET", "/logs/gpu", {}, 404),
    ("GET", "/logs/..%2fserver.log", {}, 404),
    ("GET", "/proxy/dicom/studies", {}, 404),
    ("POST", "/proxy/dicom/wado/studies/1", {}, 404),
    ("GET", "/proxy/dicom/qido/../../etc", {}, 404),
    ("GET", "/static/..%2f..%2fconfig.py", {}, 404),
    ("GET", "/nowhere", {}, 404),
    ("PATCH", "/info/", {}, 405),
    ("GET", "/auth/", {}, 404),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    REFUSED,
    ids=[f"{row[0]} {row[1]} {row[3]} {i}" for i, row in enumerate(REFUSED)],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(
    server: Server, method: str, path: str, body: dict[str, Any], status: int
) -> None:
    answer = requests.request(method, server.url + path, timeout=60, **body)

    assert (answer.status_code, sentence(answer)) == (status, sentence(answer))


@pytest.mark.parametrize("algorithm", ["", "SHA256:", "sha256:", "SHA512:", "MD5:"])
def test_an_image_is_found_by_its_checksum(server: Server, algorithm: str) -> None:
    content = (server.studies / f"{FLAT_SCAN}.nii").read_bytes()
    digest = hashlib.new((algorithm or "sha256").rstrip(":"), content).hexdigest()

    def head_of(checksum: str) -> int:
        query = {"image": FLAT_SCAN, "check_sum": algorithm + checksum}
        return requests.head(server.url + "/datastore/image", params=query, timeout=60).status_code

    assert head_of(digest) == 200 and head_of(digest.upper()) == 200
    assert head_of("0" * len(digest)) == 404


def test_an_unknown_checksum_algorithm_is_refused(server: Server) -> None:
    query = {"image": FLAT_SCAN, "check_sum": "ROT13:abc"}
    assert requests.head(server.url + "/datastore/image", params=query, timeout=60).status_code == 400
    assert requests.head(server.url + "/datastore/image?image=nobody", timeout=60).status_code == 404


def test_the_data_set_is_a_zip_of_what_is_labelled_and_leaves_no_file_behind(
    server: Server, tmp_path: Path
) -> None:
    none = server.get("/datastore/dataset")
    assert none.status_code == 404 and "final label" in sentence(none)
    mask = save(tmp_path / "mask.nii.gz", lesion(1).astype(np.uint8)).read_bytes()
    put = server.put("/datastore/label", params={"image": BIDS_SCAN}, files={"label": ("m.nii.gz", mask)})
    assert put.status_code == 200
    try:
        answer = server.get("/datastore/dataset")
        with zipfile.ZipFile(BytesIO(answer.content)) as archive:
            names = archive.namelist()
            label = nib.Nifti1Image.from_bytes(gzip.decompress(archive.read(f"label/{BIDS_SCAN}.nii.gz")))
    finally:
        server.delete("/datastore/label", params={"id": BIDS_SCAN, "tag": "final"})
    assert names == [f"image/{BIDS_SCAN}.nii.gz", f"label/{BIDS_SCAN}.nii.gz", "metadata.json"]
    np.testing.assert_array_equal(np.asanyarray(label.dataobj), lesion(1))
    assert not list(server.temporary.glob("*.zip"))


def test_options_of_more_than_a_megabyte_are_too_large(server: Server) -> None:
    long = json.dumps({"note": "x" * 2**21})
    as_form = server.post("/infer/segment", params={"image": BIDS_SCAN}, data={"params": long})
    as_multipart = server.post(
        "/infer/segment", params={"image": BIDS_SCAN}, files={"params": (None, long), "file": ("x.nii", b"")}
    )
    as_json = server.post("/train/segment", data=long, headers={"Content-Type": "application/json"})
    for answer in (as_form, as_multipart, as_json):
        assert answer.status_code == 413 and sentence(answer)


def test_a_nrrd_label_that_names_another_file_or_too_many_voxels_is_refused(server: Server) -> None:
    def put(*lines: str) -> requests.Response:
        text = "\n".join(["NRRD0004", "type: uint8", "dimension: 3", "encoding: raw", *lines]) + "\n\n"
        files = {"label": ("label.nrrd", text.encode() + b"\0" * 8)}
        return server.put("/datastore/label", params={"image": BIDS_SCAN}, files=files)

    elsewhere = put("sizes: 2 2 2", "data file: /etc/hostname")
    assert elsewhere.status_code == 400 and "detached data file" in sentence(elsewhere)
    assert put("sizes: 20000 20000 20000").status_code == 413


def test_strokes_without_header_must_be_as_many_as_voxels(server: Server) -> None:
    def post(image: str, count: int) -> requests.Response:
        files = {"label": ("strokes.bin", b"\0" * count)}
        return server.post("/infer/refine_scribbles", params={"image": image}, files=files)

    assert post("nobody", 8).status_code == 404
    wrong = post(BIDS_SCAN, 8)
    assert wrong.status_code == 400 and str(int(np.prod(SHAPE))) in sentence(wrong)


def test_health_says_what_is_served(server: Server) -> None:
    health = server.get("/health").json()
    assert health["status"] == "ok" and health["queue_length"] == 0 and health["uptime_s"] > 0
    assert health["version"] == server.get("/info/").json()["version"]
    assert isinstance(health["model"], str) and health["model"]


def test_the_log_names_no_patient_no_path_and_no_body(server: Server) -> None:
    server.infer("segment", BIDS_SCAN, note="a secret remark")
    server.infer("segment", "Mustermann^Max")
    log = server.get("/logs/?lines=10000")
    entries = [json.loads(line) for line in log.text.splitlines()]

    infers = [entry for entry in entries if entry.get("route") == "/infer/{model}"]
    assert {200, 404} <= {entry["status"] for entry in infers} and all(entry["ms"] >= 0 for entry in infers)
    assert infers[-1]["image"].startswith("id-")
    for secret in (BIDS_SCAN, "Mustermann", "secret", str(server.studies), FLAT_SCAN):
        assert secret not in log.text


def test_pages_of_other_addresses_may_not_ask(server: Server) -> None:
    def ask(**headers: str) -> requests.Response:
        return server.get("/info/", headers=headers)

    foreign = ask(Origin="https://evil.example")
    assert foreign.status_code == 403 and "Access-Control-Allow-Origin" not in foreign.headers
    assert ask(Origin="null").status_code == 403
    assert ask(Origin=server.url).status_code == 200


def test_a_foreign_name_of_this_machine_is_refused(server: Server) -> None:
    port = server.url.rpartition(":")[2]
    assert server.get("/info/", headers={"Host": f"evil.example:{port}"}).status_code == 403
    assert server.get("/info/", headers={"Host": f"localhost:{port}"}).status_code == 200


def test_of_trainings_started_at_once_one_starts_and_the_others_are_told(server: Server) -> None:
    def start(index: int) -> int:
        body = {"segment": {"max_epochs": 1}} if index % 2 else {"max_epochs": 1}
        return server.post("/train/" if index % 2 else "/train/segment", json=body).status_code

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(start, range(4)))
    stopped = server.delete("/train/")

    assert answers == [200, 429, 429, 429]
    assert stopped.json()["status"] == "STOPPED"
    assert server.get("/train/?check_if_running=true").status_code == 404


def test_ohif_is_served_and_nothing_beside_it(server: Server) -> None:
    page = server.get("/ohif/").text
    assert "<html" in page.lower()
    assert server.get("/ohif/..%2f..%2f..%2fconfig.py").text == page
    assert server.get("/ohif//etc/hostname").text == page
    assert server.get("/ohif/assets").text == page
