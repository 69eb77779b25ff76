"""`segment_ensemble`, `predict --ensemble` and the Ensemble row of `evaluate` give the same masks, voxel for voxel."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.cli import main as cli
from support.app_server import Server, multipart
from support.evaluation_data import save
from support.session_data import affine_of, lesion_of, write_session

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("monailabel-server")]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A session of three sequences, the header of one of which disagrees, and a mask that was drawn on one of them."""
    folder = tmp_path / "data"
    scans = write_session(folder)
    moved = nib.load(scans[2])
    affine = moved.affine.copy()
    affine[:3, 3] += (4, -26, 9)
    save(scans[2], np.asarray(moved.dataobj), affine)
    name = "sub-01_ses-1_space-orig_label-L_desc-T1wlesion_mask.nii.gz"
    mask = lesion_of("T1w").astype(np.uint8)
    save(folder / "derivatives/truth/sub-01/ses-1/anat" / name, mask, affine_of("T1w"))
    return folder


@pytest.fixture
def scans(server: Server, dataset: Path) -> Iterator[list[Path]]:
    paths = sorted((dataset / "sub-01").rglob("*.nii.gz"))
    for path in paths:
        name = path.name.removesuffix(".nii.gz")
        assert server.put(f"/datastore/image?image={name}", files={"file": (path.name, path.read_bytes())}).ok
    yield paths
    for path in paths:
        server.delete("/datastore", params={"id": path.name.removesuffix(".nii.gz")})


def run(*args: object) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(arg) for arg in args])
    assert not stop.value.code


def test_the_server_predict_and_evaluate_agree_voxel_for_voxel(
    server: Server, dataset: Path, scans: list[Path], bright_model: Path, tmp_path: Path
) -> None:
    common = ("--model", bright_model, "--device", "cpu", "--threads", "1")
    run("predict", dataset, "-o", tmp_path / "masks", "--ensemble", *common)
    run("evaluate", dataset, "-o", tmp_path / "scores", "--arms", "ensemble", *common)
    with (tmp_path / "scores/cases.csv").open(newline="") as file:
        (row,) = [row for row in csv.DictReader(file) if row["group"] == "Ensemble"]
    assert row["case"] == "sub-01_ses-1_T1w_Ensemble" and float(row["dice"]) > 0.7
    for scan in scans:
        name = scan.name.removesuffix(".nii.gz")
        params, _, content = multipart(server.infer("segment_ensemble", name))
        assert len(params["sequences"]) == 3
        assert any("was registered to the scan" in note for note in params["notes"])
        expected = np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj)
        assert expected.any()
        suffix = name.split("_")[-1]
        written = f"sub-01_ses-1_space-orig_label-L_desc-{suffix}ensemblelesion_mask.nii.gz"
        np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "masks" / written).dataobj), expected)
        if suffix == "T1w":
            assert Path(row["prediction"]).name == written
            np.testing.assert_array_equal(np.asarray(nib.load(row["prediction"]).dataobj), expected)
