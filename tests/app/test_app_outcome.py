"""Estimated outcome of a stroke in the answers of a server that was told to estimate one, and of no other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import app_server
from support.app_scans import BIDS_SCAN, head, save
from support.app_server import Server, multipart

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

SAMPLE = Path(__file__).parents[2] / "sample-data/sub-03/anat/sub-03_FLAIR.nii.gz"


@pytest.fixture(scope="module")
def estimating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the packaged models that estimates the NIHSS, on a sample scan and a small phantom."""
    folder = tmp_path_factory.mktemp("estimating")
    studies = folder / "studies"
    studies.mkdir()
    shutil.copyfile(SAMPLE, studies / SAMPLE.name)
    save(studies / "sub-07_T1w.nii.gz", head(1))
    running = app_server.start(folder, studies, "outcome", "nihss", "structures", "none")
    yield running
    assert app_server.stop(running) == []


def test_the_sample_scan_said_to_be_acute_has_a_number_and_no_other_stage_has(estimating: Server) -> None:
    config = estimating.get("/info/").json()["models"]["segment"]["config"]
    assert config["stroke_stage"] == ["unknown", "acute", "chronic"]
    params, _, _ = multipart(estimating.infer("segment", "sub-03_FLAIR", stroke_stage="acute"))
    told = params["outcome"]
    assert told["outcome"] == "NIHSS" and told["use"] == "research" and told["model"]["name"] == "nihss"
    assert 0 <= told["low"] < told["value"] < told["high"] <= 42 and len(told["regions"]) == 3
    assert told["text"][0].startswith("estimated NIHSS ") and told["text"][0].endswith("research use only")

    for stage, said in (
        ("chronic", "said to be chronic"),
        ("unknown", "was not said"),
        ("", "was not said"),
        (["unknown", "acute", "chronic"], "was not said"),  # as viewers send choices back
    ):
        params, _, _ = multipart(estimating.infer("segment", "sub-03_FLAIR", stroke_stage=stage))
        told = params["outcome"]
        assert told["value"] is None and said in told["reason"]
        assert told["text"] == [f"no NIHSS is estimated: {told['reason']}"]


def test_a_failed_registration_is_a_sentence_and_maps_have_none(estimating: Server) -> None:
    params, _, _ = multipart(estimating.infer("segment", "sub-07_T1w", stroke_stage="acute"))
    assert params["outcome"]["value"] is None and params["outcome"]["reason"]
    params, _, _ = multipart(
        estimating.infer("segment", "sub-07_T1w", stroke_stage="acute", result="probability")
    )
    assert "outcome" not in params
    refused = estimating.infer("segment", "sub-07_T1w", stroke_stage="old")
    assert refused.status_code == 400 and "stroke_stage" in refused.json()["detail"]


def test_a_server_estimates_nothing_by_default(server: Server) -> None:
    params, _, _ = multipart(server.infer("segment", BIDS_SCAN, stroke_stage="acute"))
    assert "outcome" not in params
    assert "stroke_stage" not in server.get("/info/").json()["models"]["segment"]["config"]
