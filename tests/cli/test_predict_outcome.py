"""`strokelabel predict --outcome`: an estimate with its interval and regions, or a sentence."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from support.bright_network import centred_affine, phantom, rotation
from support.command_line import predict, run

SAMPLE = Path(__file__).parents[2] / "sample-data/sub-03/anat/sub-03_FLAIR.nii.gz"
SHAPE = (24, 30, 20)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    affine = centred_affine(rotation((6, -4, 10)) @ np.diag([-2.5, 2.5, 3.0]), SHAPE)
    image, _ = phantom(SHAPE, affine, (6.0, -9.0, 3.0), radius_mm=10)
    nib.save(nib.Nifti1Image(image.data, affine), tmp_path / "sub-01_T1w.nii.gz")
    return tmp_path / "sub-01_T1w.nii.gz"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def estimate_of(folder: Path) -> dict:
    (sidecar,) = folder.glob("*lesion_mask.json")
    return json.loads(sidecar.read_text())["estimated_outcome"]


def test_the_sample_scan_said_to_be_acute_has_a_number_an_interval_and_regions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (SAMPLE, "-o", tmp_path, "--outcome", "nihss", "--stroke-stage", "acute")
    assert predict(*given) == 0
    printed = capsys.readouterr().out
    assert "    estimated NIHSS " in printed and "research use only" in printed
    assert "driven by (points of NIHSS): left lateral lenticulostriate (" in printed

    (row,), told = rows_of(tmp_path / "outcomes.csv"), estimate_of(tmp_path)
    assert row["outcome"] == told["outcome"] == "NIHSS" and row["stroke_stage"] == "acute"
    assert 0 <= told["low"] < told["value"] < told["high"] <= 42 and told["coverage"] == 0.9
    assert float(row["value"]) == told["value"] and row["reason"] == ""
    assert len(told["regions"]) == 3 and told["model"] == "nihss" and told["use"] == "research"
    assert told["registration"]["similarity"] > 0.925

    assert predict(*given) == 0
    assert "kept from an earlier run" in (again := capsys.readouterr().out)
    assert "    estimated NIHSS " in again


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ((), "the stage of this one was not said"),
        (("--stroke-stage", "chronic"), "this one was said to be chronic"),
        (("--stroke-stage", "acute"), "hardly any brain was found in the scan"),
    ],
    ids=["unsaid", "chronic", "failed registration"],
)
def test_what_has_no_estimate_has_a_sentence(
    stage: tuple[str, ...],
    said: str,
    bright_model: Path,
    scan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert predict(scan, "-o", out, "--model", bright_model, "--outcome", "nihss", *stage) == 0
    printed = capsys.readouterr().out
    assert "    no NIHSS is estimated: " in printed and said in " ".join(printed.split())
    (row,), told = rows_of(out / "outcomes.csv"), estimate_of(out)
    assert row["value"] == row["low"] == row["high"] == row["regions"] == "" and said in row["reason"]
    assert told["value"] is None and told["regions"] == []


def test_another_stage_is_estimated_anew_and_nothing_is_without_the_option(
    bright_model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (scan, "-o", tmp_path / "out", "--model", bright_model)
    assert predict(*given) == 0
    assert not (tmp_path / "out/outcomes.csv").exists()
    for stage in ("unknown", "chronic"):
        capsys.readouterr()
        assert predict(*given, "--outcome", "nihss", "--stroke-stage", stage) == 0
        assert "kept" not in capsys.readouterr().out
        (row,) = rows_of(tmp_path / "out/outcomes.csv")
        assert row["stroke_stage"] == stage


def test_an_ensemble_has_a_table_of_its_own(bright_model: Path, scan: Path, tmp_path: Path) -> None:
    other = tmp_path / "sub-01_T2w.nii.gz"
    other.write_bytes(scan.read_bytes())
    given = ("--model", bright_model, "--outcome", "nihss", "--ensemble")
    for _ in range(2):
        assert predict(scan, other, "-o", tmp_path / "out", *given) == 0
    rows = rows_of(tmp_path / "out/ensemble_outcomes.csv")
    assert len(rows) == 2 and all("was not said" in row["reason"] for row in rows)
    assert {row["status"] for row in rows_of(tmp_path / "out/ensembles.csv")} == {"done"}


def test_options_that_make_no_sense_together_are_refused(
    bright_model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, code, said in (
        (("--stroke-stage", "acute"), 2, "expected --outcome with --stroke-stage"),
        (("--outcome", "mood"), 1, "Expected the name of an outcome model (nihss)"),
        (("--outcome", bright_model), 1, "expected a file of `strokelabel outcome fit`"),
        (("--outcome", "nihss", "--model", "synthseg"), 2, "got --outcome; leave them out"),
    ):
        assert predict(scan, "-o", tmp_path / "out", "--model", bright_model, *options) == code
        assert said in " ".join(capsys.readouterr().err.split())


def test_a_mask_in_icbm_space_is_estimated_by_the_shipped_model_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros((20, 24, 18), np.uint8)
    mask[3:17, 4:20, 2:15] = 1
    affine = np.diag([-1.0, 1.0, 1.5, 1.0])
    affine[:3, 3] = (-28.0, -10.0, -4.0)
    nib.save(nib.Nifti1Image(mask, affine), tmp_path / "lesion.nii.gz")
    assert run("outcome", "predict", "nihss", tmp_path / "lesion.nii.gz") == 0
    assert "estimated NIHSS" in capsys.readouterr().out
