"""Masks are corrected over HTTP by what the stock viewers send: clicks, strokes, and single clicks on islands."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests

from strokelabel.metrics import dice
from support.app_scans import BIDS_SCAN, NESTED_SCAN, SHAPE, lesion, oblique_affine, save
from support.app_server import Server, multipart

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

LABEL_INFO = [
    {"name": "lesion", "id": 1},
    {"name": "background_scribbles", "id": 2},
    {"name": "foreground_scribbles", "id": 3},
]


def voxels(answer: requests.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(answer.content)).dataobj)


def center(mask: np.ndarray) -> list[int]:
    return [round(x) for x in np.argwhere(mask).mean(axis=0)]


def with_label(server: Server, label: Path, **params: Any) -> requests.Response:
    """Ask as the Slicer plugin's scribbles panel does: the segmentation in a file."""
    return server.post(
        "/infer/refine_scribbles",
        params={"image": BIDS_SCAN, "output": "image"},
        data={"params": json.dumps(params)},
        files={"label": (label.name, label.read_bytes())},
    )


def test_a_foreground_click_finds_the_lesion_on_the_scans_own_grid(server: Server) -> None:
    click = {"foreground": [center(lesion(1))], "background": [], "label": "lesion", "start": "nothing"}
    found = voxels(server.infer("refine", BIDS_SCAN, "image", **click))
    assert found.shape == SHAPE and found.dtype == np.uint8
    assert dice(lesion(1), found) > 0.75


def test_without_a_mask_the_prediction_is_corrected_and_the_answer_says_so(server: Server) -> None:
    predicted = voxels(server.infer("segment", BIDS_SCAN, "image"))
    assert np.array_equal(voxels(server.infer("refine", BIDS_SCAN, "image")), predicted)
    params, _, _ = multipart(server.infer("refine", BIDS_SCAN, foreground=[[1, 2, 3]]))
    assert params["start"] == "prediction" and params["label_names"] == {"lesion": 1}
    assert params["changed_ml"] > 0 and params["latencies"]["infer"] >= 0


def test_an_island_is_removed_by_a_click(server: Server) -> None:
    i, j, k = center(lesion(1))
    assert not voxels(server.infer("refine", BIDS_SCAN, "image", remove_island=[i, j, k])).any()


def test_a_region_is_added_by_a_click(server: Server) -> None:
    added = server.infer("refine", BIDS_SCAN, "image", start="nothing", add_region=[center(lesion(1))])
    assert dice(lesion(1), voxels(added)) > 0.75


def test_a_stored_label_is_what_is_corrected(server: Server, tmp_path: Path) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[2:5, 2:6, 2:4] = 1
    file = save(tmp_path / "label.nii.gz", label)
    put = {"image": NESTED_SCAN, "tag": "final"}
    assert server.put("/datastore/label", params=put, files={"label": (file.name, file.read_bytes())}).ok
    try:
        assert np.array_equal(voxels(server.infer("refine", NESTED_SCAN, "image")), label)
    finally:
        server.delete("/datastore/label", params={"id": NESTED_SCAN, "tag": "final"})


@pytest.mark.parametrize("turned", [False, True])
def test_strokes_in_a_segmentation_correct_its_lesion(server: Server, tmp_path: Path, turned: bool) -> None:
    i, j, k = center(lesion(1))
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[28:31, 38:41, 14:16] = 1
    strokes[i - 1 : i + 2, j, k] = 3
    strokes[3, 2:4, 2] = 2
    file = tmp_path / "strokes.nii.gz"
    image = nib.Nifti1Image(strokes, oblique_affine())
    nib.save(nib.as_closest_canonical(image) if turned else image, file)
    roi: list[int] = []
    found = voxels(with_label(server, file, label_info=LABEL_INFO, roi=roi, selected_label_name="lesion"))
    assert found[strokes == 3].all() and not found[strokes == 2].any() and found[29, 39, 14]
    assert dice(lesion(1), found) > 0.7


def test_nothing_changes_outside_a_region_of_interest(server: Server) -> None:
    i, j, k = center(lesion(1))
    roi = [i, i + 1, j, j + 1, k, k + 1]
    found = voxels(
        server.infer("refine", BIDS_SCAN, "image", start="nothing", foreground=[[i, j, k]], roi=roi)
    )
    assert found[i, j, k] and found.sum() == found[i : i + 2, j : j + 2, k : k + 2].sum()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"foreground": [[99, 0, 0]]}, "inside the scan"),
        ({"background": "here"}, "list of voxels"),
        ({"foreground": [[0.5, 1, 2]]}, "whole numbers"),
        ({"remove_island": [[0, 0, 0]], "start": "nothing"}, "found none"),
        ({"roi": [1, 2, 3]}, "six whole numbers"),
        ({"start": "anywhere"}, "expected one of"),
        ({"reach_mm": -1}, "above zero"),
        ({"foreground": [[1, 1, 1]] * 300}, "at most 200"),
    ],
)
def test_prompts_that_make_no_sense_are_refused(server: Server, params: dict[str, Any], words: str) -> None:
    answer = server.infer("refine", BIDS_SCAN, **params)
    assert answer.status_code == 400 and words in answer.json()["detail"]


def test_labels_on_another_grid_or_of_unknown_meaning_are_refused(server: Server, tmp_path: Path) -> None:
    moved = oblique_affine()
    moved[0, 3] += 5
    other = save(tmp_path / "other.nii.gz", np.ones(SHAPE, np.uint8), moved)
    good = save(tmp_path / "good.nii.gz", np.ones(SHAPE, np.uint8))
    (tmp_path / "text.nii.gz").write_text("nothing")
    for file, info in ((other, LABEL_INFO), (tmp_path / "text.nii.gz", LABEL_INFO), (good, [7])):
        answer = with_label(server, file, label_info=info)
        assert answer.status_code == 400 and str(server.temporary) not in answer.json()["detail"]


def test_a_request_cannot_name_a_file_of_the_server_as_its_label(server: Server) -> None:
    path = server.get("/datastore/image/info", params={"image": BIDS_SCAN}).json()["path"]
    plain = voxels(server.infer("refine", BIDS_SCAN, "image"))
    named = server.infer("refine", BIDS_SCAN, "image", label=path, stored_label=path)
    assert np.array_equal(voxels(named), plain)
