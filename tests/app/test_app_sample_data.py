"""The model that is shipped finds the lesions of the sample data, through a real server."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.labels import TissueClass
from strokelabel.metrics import dice
from support import app_server

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]

SAMPLE_DATA = app_server.REPOSITORY / "sample-data"
SCANS = {"sub-01_T1w": 0.8, "sub-02_T2w": 0.8, "sub-03_FLAIR": 0.4}
"""Each scan and the overlap (Dice) to reach: less for the FLAIR, whose lesions are small and its slices thick."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[app_server.Server]:
    """A server with the shipped model on a copy of the sample data."""
    studies = tmp_path_factory.mktemp("sample") / "sample-data"
    ours = ("datastore_v2.json", ".lock", "labels", "code")
    shutil.copytree(SAMPLE_DATA, studies, ignore=shutil.ignore_patterns(*ours))
    running = app_server.start(tmp_path_factory.mktemp("server"), studies)
    yield running
    assert app_server.stop(running) == []


def truth(scan: str) -> Path:
    subject, suffix = scan.split("_")
    (path,) = SAMPLE_DATA.glob(f"derivatives/*/{subject}/anat/*{suffix}lesion_mask.nii.gz")
    return path


def test_the_three_scans_are_served_and_their_truth_is_not(server: app_server.Server) -> None:
    assert set(server.get("/datastore/?output=all").json()["objects"]) == set(SCANS)


@pytest.mark.parametrize("scan", SCANS)
def test_lesion_and_tissues_lie_on_the_scans_grid_and_the_lesion_overlaps_the_truth(
    server: app_server.Server, scan: str
) -> None:
    original = nib.load(next(SAMPLE_DATA.glob(f"sub-*/anat/{scan}.nii.gz")))
    answers = {}
    for task in ("segment", "segment_tissues"):
        params, _, content = app_server.multipart(server.infer(task, scan))
        answer = nib.Nifti1Image.from_bytes(gzip.decompress(content))
        assert answer.shape == original.shape and np.array_equal(answer.affine, original.affine)
        assert params["model"]["name"] == "base"
        answers[task] = np.asarray(answer.dataobj)
    lesion = answers["segment"] == 1
    assert np.array_equal(answers["segment_tissues"] == TissueClass.LESION, lesion)
    assert set(np.unique(answers["segment_tissues"])) == set(range(6))
    assert dice(np.asarray(nib.load(truth(scan)).dataobj) > 0, lesion) >= SCANS[scan]
