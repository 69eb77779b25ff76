"""`strokelabel predict` with weights for parcellation."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.cli import main as cli
from support.bright_network import centred_affine, phantom
from support.sided_network import save_sided_model

SHAPE = (24, 30, 20)


def predict(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["predict", *map(str, args), "--device", "cpu"])
    return stop.value.code or 0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sided_model(tmp_path_factory.mktemp("sided") / "sided.safetensors")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    affine = centred_affine(np.diag([-2.5, 2.5, 3.0]), SHAPE)
    image, _ = phantom(SHAPE, affine, (6.0, -9.0, 3.0), radius_mm=10)
    nib.save(nib.Nifti1Image(image.data, affine), tmp_path / "scan.nii")
    return tmp_path / "scan.nii"


def test_structures_and_volumes_are_written_and_no_lesion_is_claimed(
    model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(scan, "-o", out, "--model", model) == 0
    assert sorted(path.name for path in out.iterdir() if path.name[0] != ".") == [
        "parcellations.csv",
        "scan_parcellation_dseg.json",
        "scan_parcellation_dseg.nii.gz",
        "scan_parcellation_dseg.tsv",
        "scan_parcellation_volumes.tsv",
    ]
    printed = capsys.readouterr()
    assert "scan.nii: " in printed.out and " ml intracranial volume, " in printed.out
    assert "lesion" not in printed.out + printed.err
    with (out / "parcellations.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["segmentation"], row["status"]) == ("scan_parcellation_dseg.nii.gz", "done")

    assert predict(scan, "-o", out, "--model", model) == 0
    assert "(kept from an earlier run)" in capsys.readouterr().out


def test_options_about_lesions_are_refused_by_name(
    model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(scan, "-o", out, "--model", model, "--threshold", "0.5", "--fill-holes") == 2
    assert "got --threshold, --fill-holes; leave them out" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_a_failure_is_one_line_and_exit_code_one(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.nii").write_bytes(b"not an image")
    assert predict(tmp_path / "broken.nii", "-o", tmp_path / "out", "--model", model) == 1
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
