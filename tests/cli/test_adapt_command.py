"""`strokelabel adapt`: a folder of scans in, a model for `--model` out, and versions with a gate."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.cli import main as cli
from support.bright_network import centred_affine, phantom
from support.sided_network import save_sided_model

SHAPE = (24, 30, 20)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, x in enumerate((-6.0, 6.0)):
        affine = centred_affine(np.diag([-2.5, 2.5, 3.0]), SHAPE)
        image, _ = phantom(SHAPE, affine, (x, -9.0, 3.0), radius_mm=10)
        nib.save(nib.Nifti1Image(image.data, affine), folder / f"scan{number}.nii.gz")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "adapted"


def strokelabel(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, args)])
    return stop.value.code or 0


def adapt(*args: object) -> int:
    return strokelabel("adapt", *args, "--device", "cpu")


def test_a_folder_of_scans_gives_a_model_that_predict_takes(
    bright_model: Path, cohort: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        cohort, "-o", out, "--model", bright_model, "--method", "dpl", "--dropout", 0.1, "--steps", 6,
        "--confidence", 0.5, "--learning-rate", 0.002,
    )  # fmt: skip
    assert adapt(*command) == 0
    told = capsys.readouterr().out
    assert "scan0.nii.gz: " in told and "% of the voxels kept" in told and "2 scans: mean entropy" in told
    record = json.loads((out / "adaptation.json").read_text())
    assert (record["method"], record["options"]["dropout"], record["accepted"]) == ("dpl", 0.1, True)
    assert [Path(row["source"]).name for row in record["scans"]] == ["scan0.nii.gz", "scan1.nii.gz"]
    assert all(row["agreeing"] <= row["certain"] <= row["confident"] for row in record["scans"])
    assert adapt(*command) == 0
    assert "kept" in capsys.readouterr().err
    results = out.parent / "results"
    assert strokelabel(
        "predict", cohort / "scan0.nii.gz", "-o", results, "--model", out / "model.safetensors",
        "--device", "cpu",
    ) == 0  # fmt: skip
    (sidecar,) = results.glob("*lesion_mask.json")
    assert json.loads(sidecar.read_text())["model_version"] == "1+dpl"


def test_a_refused_model_ends_with_1_and_the_reason_and_can_be_forced(
    bright_model: Path, cohort: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        cohort, "-o", out, "--model", bright_model, "--method", "pl", "--steps", 6, "--learning-rate", 5,
    )  # fmt: skip
    assert adapt(*command) == 1
    told = capsys.readouterr().err
    assert "scans are spoiled" in told or "entropy did not fall" in told
    assert "was not written" in told and not (out / "model.safetensors").exists()
    assert adapt(*command, "--force") == 0
    assert (out / "model.safetensors").exists()
    assert json.loads((out / "adaptation.json").read_text())["forced"]


def test_a_scan_that_fails_is_named_and_the_others_are_used(
    bright_model: Path, cohort: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cohort / "broken.nii.gz").write_bytes(b"nothing")
    assert adapt(cohort, "-o", out, "--model", bright_model, "--method", "pl", "--steps", 0) == 1
    assert "broken.nii.gz" in capsys.readouterr().err
    assert (out / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("--method", "upl"), 2, "--dropout 0.2"),
        (("--method", "pl", "--dropout", "0.2"), 2, "'upl' and 'dpl' alone"),
        (("--method", "pl", "--confidence", "1"), 2, "confidence from 0 to below 1"),
        ((), 2, "--method"),
        (("--method", "pl", "--confidence", "0.99999999"), 1, "lower the confidence"),
    ],
)
def test_what_makes_no_sense_is_refused(
    bright_model: Path,
    cohort: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    expected: str,
) -> None:
    assert adapt(cohort, "-o", out, "--model", bright_model, *arguments) == code
    assert expected in " ".join(capsys.readouterr().err.split())
    assert not (out / "model.safetensors").exists()


def test_a_parcellation_is_refused(tmp_path: Path, cohort: Path, out: Path) -> None:
    model = save_sided_model(tmp_path / "sided.safetensors")
    assert adapt(cohort, "-o", out, "--model", model, "--method", "pl") == 1
    assert not out.exists()
