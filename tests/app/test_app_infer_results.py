"""Other answers than one sequence's mask: probability, uncertainty, flips, and all sequences of a session."""

from __future__ import annotations

import gzip
import threading
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest

from lib.studies.scan_list import session_sequences
from strokelabel.metrics import dice
from support.app_scans import BIDS_SCAN, SHAPE, head, lesion, oblique_affine, save
from support.app_server import Server, multipart

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

TASKS = ("segment", "segment_accurate", "segment_tissues", "segment_ensemble")


def image_of(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def voxels(content: bytes) -> np.ndarray:
    return np.asarray(image_of(content).dataobj)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("result", ["probability", "uncertainty"])
def test_a_map_is_float32_on_the_scans_own_grid(server: Server, task: str, result: str) -> None:
    params, name, content = multipart(
        server.infer(task, BIDS_SCAN, result=result, uncertainty="predictive entropy", result_dtype="uint8")
    )
    answer = image_of(content)
    assert params["result"] == result and name.endswith(".nii.gz")
    assert answer.shape == SHAPE and answer.get_data_dtype() == np.float32
    np.testing.assert_allclose(answer.affine, oblique_affine(), atol=1e-5)
    values = voxels(content)
    assert np.isfinite(values).all() and values.min() >= 0 and values.max() > 0


def test_the_mask_is_where_the_probability_reaches_the_threshold(server: Server) -> None:
    probability = voxels(server.infer("segment", BIDS_SCAN, "image", result="probability").content)
    for threshold in (0.2, 0.5, 0.9):
        mask = voxels(server.infer("segment", BIDS_SCAN, "image", threshold=threshold).content)
        np.testing.assert_array_equal(mask == 1, probability >= threshold)


@pytest.mark.parametrize("kind", ["mutual information", "predictive entropy", "lesion variance"])
def test_the_map_of_uncertainty_can_be_chosen_and_may_be_a_nrrd(
    server: Server, tmp_path: Path, kind: str
) -> None:
    expected = voxels(
        server.infer("segment", BIDS_SCAN, "image", result="uncertainty", uncertainty=kind).content
    )
    options = {"result": "uncertainty", "uncertainty": kind, "result_extension": ".nrrd"}
    params, _, content = multipart(server.infer("segment", BIDS_SCAN, **options))
    (tmp_path / "map.nrrd").write_bytes(content)
    data, header = nrrd.read(str(tmp_path / "map.nrrd"), index_order="F")
    assert header["type"] == "float" and params["passes"] == 8 and params["method"] == "flips"
    np.testing.assert_array_equal(data, expected)


def test_a_map_cannot_be_kept_as_a_label(server: Server) -> None:
    answer = server.infer("segment", BIDS_SCAN, result="probability", save_label=True)
    assert answer.status_code == 400 and "save_label" in answer.json()["detail"]


@pytest.mark.parametrize(
    "options", [{"result": "picture"}, {"uncertainty": "doubt"}, {"ct": True, "ct_low": 90}, {"ct_high": "x"}]
)
def test_options_that_cannot_be_used_are_refused(server: Server, options: dict[str, object]) -> None:
    answer = server.infer("segment", BIDS_SCAN, **options)
    assert answer.status_code == 400 and answer.json()["detail"]


def test_the_accurate_task_is_the_plain_one_with_flips(server: Server) -> None:
    accurate = server.infer("segment_accurate", BIDS_SCAN, "image").content
    assert accurate == server.infer("segment", BIDS_SCAN, "image", tta=True).content


def test_the_second_answer_comes_from_the_cache_for_every_threshold(server: Server, tmp_path: Path) -> None:
    scan = save(tmp_path / "new.nii.gz", head(11))
    first, again, other = (
        multipart(server.infer("segment", file=scan, threshold=t))[0] for t in (0.5, 0.5, 0.2)
    )
    assert [one["cached"] for one in (first, again, other)] == [False, True, True]
    assert first["volume_ml"] == again["volume_ml"] <= other["volume_ml"]
    assert list((server.studies / ".strokelabel" / "cache").glob("*.result"))


def test_the_sequences_of_a_session_are_predicted_together_and_named(server: Server, tmp_path: Path) -> None:
    straight = np.diag([1.8, 1.9, 2.1, 1.0])
    straight[:3, 3] = [-36, -38, -30]
    files = {
        "sub-09_ses-1_T1w": save(tmp_path / "a.nii.gz", head(1)),
        "sub-09_ses-1_FLAIR": save(tmp_path / "b.nii.gz", head(1, (41, 41, 30), straight), straight),
        "sub-09_ses-2_FLAIR": save(tmp_path / "c.nii.gz", head(2)),
    }
    for name, file in files.items():
        assert server.put(
            f"/datastore/image?image={name}", files={"file": (f"{name}.nii.gz", file.read_bytes())}
        ).ok
    try:
        params, _, content = multipart(server.infer("segment_ensemble", "sub-09_ses-1_T1w"))
        assert params["sequences"] == ["sub-09_ses-1_T1w", "sub-09_ses-1_FLAIR"]
        assert dice(lesion(1), voxels(content)) > 0.7
        alone, _, content = multipart(server.infer("segment_ensemble", "sub-09_ses-2_FLAIR"))
        assert alone["sequences"] == ["sub-09_ses-2_FLAIR"]
        assert content == server.infer("segment", "sub-09_ses-2_FLAIR", "image").content
    finally:
        for name in files:
            server.delete("/datastore", params={"id": name})


def test_the_images_of_a_session_of_the_server_are_predicted_together(server: Server, tmp_path: Path) -> None:
    files = [save(tmp_path / f"{name}.nii.gz", head(1)) for name in ("FLAIR", "T1")]
    uploads = [("files", (file.name, file.read_bytes())) for file in files]
    session = server.put("/session/", files=uploads).json()["session_id"]
    try:
        params, _, content = multipart(
            server.infer("segment_ensemble", session=session, sequence="T1.nii.gz")
        )
        assert params["sequences"] == ["T1.nii.gz", "FLAIR.nii.gz"]
        assert dice(lesion(1), voxels(content)) > 0.8
        refused = server.infer("segment_ensemble", session=session, sequence="T2.nii.gz")
        assert refused.status_code == 400 and "T1.nii.gz" in refused.json()["detail"]
    finally:
        server.delete(f"/session/{session}")


def test_parallel_requests_are_all_answered_or_told_to_come_back(server: Server, tmp_path: Path) -> None:
    scans = [save(tmp_path / f"{seed}.nii.gz", head(seed)) for seed in range(30, 46)]
    answers: list[tuple[int, str | None]] = []

    def ask(scan: Path) -> None:
        answer = server.infer("segment", file=scan)
        answers.append((answer.status_code, answer.headers.get("Retry-After")))

    threads = [threading.Thread(target=ask, args=(scan,)) for scan in scans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(200, None)] * len(scans)


def test_only_sequences_of_one_subject_session_and_space_belong_together() -> None:
    ids = [
        "sub-1_ses-a_T1w",
        "sub-1_ses-a_run-2_FLAIR",
        "sub-1_ses-b_T1w",
        "sub-1_ses-a_part-phase_T2starw",
        "sub-1_ses-a_space-MNI_T2w",
        "sub-1_ses-a_ct",
        "sub-2_ses-a_T1w",
        "sub-1_ses-a_T1w_old",
        "patient-1_T1",
    ]
    assert session_sequences("sub-1_ses-a_T1w", ids) == ["sub-1_ses-a_run-2_FLAIR"]
    assert session_sequences("patient-1_T1", ids) == []
