"""`segment_adapted`: the answer of `predict --adapt`, told how long it takes, and stopped with its client."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests

from strokelabel.adaptation.adapt import AdaptingPredictor
from strokelabel.adaptation.options import AdaptationOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import read_image
from support.app_scans import BIDS_SCAN, healthy_head, save
from support.app_server import Server, multipart, uploaded

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

TASK = "segment_adapted"


def voxels(content: bytes) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj)


@pytest.fixture
def scan(studies: Path) -> Iterator[Path]:
    (path,) = (studies / "sub-07").rglob(f"{BIDS_SCAN}.nii.gz")
    yield path


def test_the_mask_is_that_of_an_adapted_prediction_and_the_answer_says_what_was_kept(
    server: Server, scan: Path, bright_model: Path
) -> None:
    params, _, content = multipart(server.infer(TASK, BIDS_SCAN, adapt_iterations=2))
    adapting = AdaptingPredictor(
        Predictor.from_model(bright_model, "cpu"), AdaptationOptions("tent", iterations=2)
    )
    expected = adapting.predict(read_image(scan))
    np.testing.assert_array_equal(voxels(content), expected.lesion_mask)
    report = params["adaptation"]
    assert (report["method"], report["iterations"]) == ("tent", 2)
    assert report["kept"] in {"adapted", "plain"} and report["reason"]
    assert not params["cached"]
    again, _, _ = multipart(server.infer(TASK, BIDS_SCAN, adapt_iterations=2, result="probability"))
    assert again["cached"] and again["adaptation"] == report
    other, _, _ = multipart(server.infer(TASK, BIDS_SCAN, adapt_iterations=1))
    assert not other["cached"]


def test_without_iterations_the_mask_is_that_of_segment(server: Server) -> None:
    params, _, content = multipart(server.infer(TASK, BIDS_SCAN, adapt_iterations=0))
    np.testing.assert_array_equal(
        voxels(content), voxels(server.infer("segment", BIDS_SCAN, "image").content)
    )
    assert any("not adapted" in note for note in params["notes"])


def test_the_uncertainty_is_that_of_the_plain_model_and_said_to_be(server: Server) -> None:
    params, _, content = multipart(server.infer(TASK, BIDS_SCAN, result="uncertainty"))
    plain = server.infer("segment", BIDS_SCAN, "image", result="uncertainty").content
    np.testing.assert_array_equal(voxels(content), voxels(plain))
    assert any("without adaptation" in note for note in params["notes"])


def test_the_list_of_tasks_has_an_estimate_that_follows_what_was_measured(server: Server) -> None:
    multipart(server.infer(TASK, BIDS_SCAN, adapt_iterations=3))
    model = server.get("/info/").json()["models"][TASK]
    assert 0 < model["seconds"] < 300
    assert model["config"]["adapt"] == [
        "tent"
    ]  # the voxels of the shipped denoiser are not made of this model's
    assert model["config"]["adapt_iterations"] == 100


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"adapt": "best"}, "tent"),
        ({"adapt": "dae"}, "tent"),
        ({"adapt_iterations": -1}, "whole number from 0"),
        ({"adapt_iterations": 2.5}, "whole number from 0"),
    ],
)
def test_impossible_options_are_refused(server: Server, options: dict[str, object], expected: str) -> None:
    answer = server.infer(TASK, BIDS_SCAN, **options)
    assert answer.status_code == 400 and expected in answer.json()["detail"]


def test_an_adaptation_ends_when_its_client_leaves_and_the_next_request_is_answered(
    server: Server, tmp_path: Path
) -> None:
    endless = {"params": '{"adapt_iterations": 10000}'}
    scan = save(tmp_path / "healthy.nii.gz", healthy_head())
    with uploaded(server, "healthy", scan) as image, pytest.raises(requests.Timeout):
        requests.post(f"{server.url}/infer/{TASK}", params={"image": image}, data=endless, timeout=4)
    began = time.monotonic()
    assert server.infer(TASK, BIDS_SCAN, adapt_iterations=4).ok
    assert time.monotonic() - began < 60  # ten thousand iterations would take many minutes
    assert "stopped: its client closed the connection" in server.log.read_text(errors="replace")
