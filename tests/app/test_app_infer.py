"""Segmentations asked for over HTTP come back on the scan's own grid."""

from __future__ import annotations

import gzip
import json
import threading
import time
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import requests

from strokelabel.labels import CLASS_NAMES, TissueClass
from strokelabel.metrics import dice
from support.app_scans import BIDS_SCAN, FLAT_SCAN, NESTED_SCAN, head, lesion, oblique_affine, save
from support.app_server import Server, multipart
from support.bright_network import centred_affine

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

NOTHING_FOUND = {"threshold": 0.9, "min_size_ml": 1e5}
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def nifti(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def voxels(content: bytes) -> np.ndarray:
    return np.asarray(nifti(content).dataobj)


@pytest.mark.parametrize("task", ["segment", "segment_tissues"])
@pytest.mark.parametrize("scan", [BIDS_SCAN, FLAT_SCAN, NESTED_SCAN])
def test_the_answer_has_the_shape_both_affines_and_both_codes_of_the_scan(
    server: Server, task: str, scan: str
) -> None:
    original = nib.load(server.get("/datastore/image/info", params={"image": scan}).json()["path"])
    _, name, content = multipart(server.infer(task, scan))
    answer = nifti(content)
    assert name.endswith(".nii.gz") and answer.get_data_dtype() == np.uint8
    assert answer.shape == original.shape
    for form in ("sform", "qform"):
        assert np.array_equal(answer.header[f"{form}_code"], original.header[f"{form}_code"])
        assert np.array_equal(getattr(answer, f"get_{form}")(), getattr(original, f"get_{form}")())


def test_the_mask_lies_where_the_lesion_is(server: Server) -> None:
    for scan, seed in ((BIDS_SCAN, 1), (NESTED_SCAN, 4)):
        assert dice(lesion(seed), voxels(server.infer("segment", scan, "image").content)) > 0.8


def test_the_params_name_the_labels_and_say_how_long_it_took_and_how_large_the_lesion_is(
    server: Server,
) -> None:
    params, _, content = multipart(server.infer("segment", BIDS_SCAN))
    assert params["label_names"] == {"lesion": 1}
    assert params["label_colors"] == {"lesion": [230, 60, 50]}
    assert params["latencies"]["total"] >= params["latencies"]["infer"] >= 0
    voxel_ml = abs(np.linalg.det(oblique_affine()[:3, :3])) / 1000
    assert params["volume_ml"] == pytest.approx(np.count_nonzero(voxels(content)) * voxel_ml, abs=2e-3)
    assert params["model"] == {"name": "bright", "version": "1"}


def test_the_tissues_are_the_six_classes_and_their_lesion_is_that_of_segment(server: Server) -> None:
    params, _, content = multipart(server.infer("segment_tissues", BIDS_SCAN))
    lesion = voxels(server.infer("segment", BIDS_SCAN, "image").content)
    classes = voxels(content)
    assert params["label_names"] == {name: value for value, name in enumerate(CLASS_NAMES) if value}
    assert classes.max() < len(CLASS_NAMES) and len(np.unique(classes)) > 1
    assert np.array_equal(classes == TissueClass.LESION, lesion == 1)


def test_image_json_and_all_are_the_same_answer(server: Server) -> None:
    params, _, content = multipart(server.infer("segment", BIDS_SCAN, "all"))
    assert server.infer("segment", BIDS_SCAN, "image").content == content
    only_params = server.infer("segment", BIDS_SCAN, "json").json()
    changing = {"latencies": None, "cached": None}
    assert only_params | changing == params | changing


def test_a_mask_of_zeros_comes_when_nothing_is_found(server: Server) -> None:
    params, _, content = multipart(server.infer("segment", BIDS_SCAN, **NOTHING_FOUND))
    assert voxels(content).shape == head().shape and not voxels(content).any()
    assert params["volume_ml"] == 0 and params["lesion_count"] == 0


@pytest.mark.parametrize("compress", [False, True])
def test_a_nrrd_has_the_same_voxels_in_the_same_place(server: Server, tmp_path: Path, compress: bool) -> None:
    expected = voxels(server.infer("segment", BIDS_SCAN, "image").content)
    _, name, content = multipart(
        server.infer("segment", BIDS_SCAN, result_extension=".nrrd", result_compress=compress)
    )
    (tmp_path / "answer.nrrd").write_bytes(content)
    data, header = nrrd.read(str(tmp_path / "answer.nrrd"), index_order="F")
    affine = RAS_TO_LPS @ oblique_affine()
    assert name.endswith(".nrrd")
    assert header["encoding"] == ("gzip" if compress else "raw") and header["type"] == "uint8"
    assert np.array_equal(data, expected)
    assert np.allclose(header["space directions"].T, affine[:3, :3], atol=1e-4)
    assert np.allclose(header["space origin"], affine[:3, 3], atol=1e-4)
    assert compress or content.endswith(data.tobytes(order="F"))


def test_the_voxel_type_can_be_chosen(server: Server) -> None:
    _, name, content = multipart(
        server.infer("segment", BIDS_SCAN, result_extension=".nii", result_dtype="uint16")
    )
    answer = nib.Nifti1Image.from_bytes(content)
    assert name.endswith(".nii") and answer.get_data_dtype() == np.uint16


def test_numbers_may_be_sent_as_strings(server: Server) -> None:
    as_numbers = server.infer("segment", BIDS_SCAN, "image", threshold=0.1, min_size_ml=1.5, tta=True)
    as_strings = server.infer("segment", BIDS_SCAN, "image", threshold="0.1", min_size_ml="1.5", tta="True")
    assert as_numbers.status_code == as_strings.status_code == 200
    assert as_numbers.content == as_strings.content


def test_an_uploaded_scan_is_segmented_without_being_stored(server: Server, tmp_path: Path) -> None:
    upload = save(tmp_path / "unknown scan 1.2.nii.gz", head(1))
    answer = server.infer("segment", "", "image", file=upload)
    assert answer.status_code == 200
    assert answer.content == server.infer("segment", BIDS_SCAN, "image").content
    assert "unknown scan" not in server.get("/datastore/?output=all").text


def test_the_image_of_a_session_is_segmented(server: Server, tmp_path: Path) -> None:
    upload = save(tmp_path / "volume.nii.gz", head(1))
    session = server.put("/session/", files={"files": (upload.name, upload.read_bytes())}).json()[
        "session_id"
    ]
    answer = server.infer("segment", "", "image", session=session)
    assert answer.content == server.infer("segment", BIDS_SCAN, "image").content
    assert server.delete(f"/session/{session}").status_code == 200
    assert server.infer("segment", "", session=session).status_code == 404


def test_a_result_can_be_kept_as_the_original_label(server: Server) -> None:
    answer = server.infer("segment", NESTED_SCAN, "image", save_label="true")
    label = {"label": NESTED_SCAN, "tag": "original"}
    kept = server.get("/datastore/label", params=label)
    info = server.get("/datastore/label/info", params=label).json()
    assert kept.content == answer.content
    assert info["model"] == "segment" and info["params"]["label_names"] == {"lesion": 1}
    assert server.delete("/datastore/label", params={"id": NESTED_SCAN, "tag": "original"}).status_code == 200
    assert server.get("/datastore/label", params=label).status_code == 404


def test_no_temporary_file_is_left_by_good_or_by_refused_requests(server: Server, tmp_path: Path) -> None:
    for name, data in (("good", head(1)), ("bad", np.zeros((9, 8, 7), np.float32))):
        server.infer("segment", "", file=save(tmp_path / f"{name}.nii.gz", data))
    assert server.infer("segment", BIDS_SCAN, result_dtype="complex").status_code == 400
    files = [path for path in server.temporary.glob("*") if "nii" in path.name or "nrrd" in path.name]
    assert files == []


def test_info_answers_while_a_scan_is_being_segmented(server: Server, tmp_path: Path) -> None:
    shape = (150, 160, 140)
    affine = centred_affine(np.diag([1.2, 1.1, 1.3]), shape)
    upload = save(tmp_path / "large.nii.gz", head(1, shape, affine), affine)
    body = {"params": json.dumps({"tta": True})}
    ended: list[float] = []

    def segment() -> None:
        answer = requests.post(
            server.url + "/infer/segment", data=body, files={"file": upload.open("rb")}, timeout=300
        )
        ended.append(time.monotonic())
        assert answer.status_code == 200

    began, answered = time.monotonic(), []
    thread = threading.Thread(target=segment)
    thread.start()
    while thread.is_alive():
        server.get("/info/")
        answered.append(time.monotonic())
    thread.join()
    middle = began + (ended[0] - began) / 2
    assert any(middle < moment < ended[0] for moment in answered)
