"""`strokelabel predict` as users call it: inputs, exit codes, streams, interruption."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from strokelabel.cli import main as cli
from strokelabel.io import read_image
from strokelabel.io.dicom.segmentation_reader import read_dicom_seg
from support.bright_network import centred_affine, phantom
from support.dicom_writer import write_series

SHAPE = (24, 30, 20)


def write_scan(path: Path) -> Path:
    affine = centred_affine(np.diag([-2.5, 2.5, 3.0]), SHAPE)
    image, _ = phantom(SHAPE, affine, (6.0, -9.0, 3.0), radius_mm=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image.data, affine), path)
    return path


def predict(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["predict", *map(str, args)])
    return stop.value.code or 0


def statuses(folder: Path) -> dict[str, str]:
    with (folder / "predictions.csv").open(newline="") as file:
        return {Path(row["source"]).name: row["status"] for row in csv.DictReader(file)}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_files_folders_and_patterns_are_all_predicted_in_one_run(
    bright_model: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "one.nii.gz")
    write_scan(tmp_path / "folder" / "deeper" / "two.nii")
    write_scan(tmp_path / "many" / "sub-01_T2w.nii.gz")
    write_scan(tmp_path / "many" / "sub-01_T1w.nii.gz")
    code = predict(
        tmp_path / "one.nii.gz", tmp_path / "folder", tmp_path / "many" / "*_T2w.nii.gz",
        "-o", out, "--model", bright_model, "--device", "cpu",
    )  # fmt: skip
    assert code == 0
    assert statuses(out) == {"one.nii.gz": "done", "two.nii": "done", "sub-01_T2w.nii.gz": "done"}
    assert (out / "sub-01_space-orig_label-L_desc-T2wlesion_mask.nii.gz").exists()
    printed = capsys.readouterr()
    assert printed.out.count(" in 1 lesion, ") == 3
    assert "error" not in printed.err


def test_options_reach_the_results(bright_model: Path, tmp_path: Path, out: Path) -> None:
    scan = write_scan(tmp_path / "one.nii.gz")
    code = predict(
        scan, "-o", out, "--model", bright_model, "--device", "cpu", "--probabilities", "--tissues", "--tta",
        "--threshold", "0.4", "--min-size-ml", "0.1", "--fill-holes", "--view", "head", "--threads", "1",
    )  # fmt: skip
    assert code == 0
    names = {path.name for path in out.iterdir() if path.suffix != ".lock"}
    assert {
        f"one_{kind}.nii.gz" for kind in ("lesion_mask", "lesion_probseg", "tissue_dseg", "tissue_probseg")
    } <= names
    assert '"threshold": 0.4' in (out / "one_lesion_mask.json").read_text()


def test_one_bad_scan_makes_the_exit_code_one_and_the_others_are_done(
    bright_model: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"not an image")
    write_scan(tmp_path / "in" / "c.nii.gz")
    assert predict(tmp_path / "in", "-o", out, "--model", bright_model, "--device", "cpu") == 1
    assert statuses(out) == {"a.nii.gz": "done", "b.nii.gz": "failed", "c.nii.gz": "done"}
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "b.nii.gz" in line


def test_results_in_the_folder_of_the_scans_are_not_taken_for_scans(
    bright_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    write_scan(folder / "a.nii.gz")
    for _ in range(2):
        args = (
            folder,
            "-o",
            folder,
            "--model",
            bright_model,
            "--device",
            "cpu",
            "--probabilities",
            "--tissues",
        )
        assert predict(*args) == 0
    assert statuses(folder) == {"a.nii.gz": "done"}
    assert capsys.readouterr().out.count("(kept from an earlier run)") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ["--threshold", "1.5"],
        ["--threshold", "much"],
        ["--min-size-ml", "-1"],
        ["--device", "toaster"],
        ["--view", "foot"],
        ["--threads", "0"],
        ["--frobnicate"],
    ],
)
def test_wrong_usage_has_exit_code_two_and_no_traceback(
    wrong: list[str], bright_model: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = write_scan(tmp_path / "a.nii.gz")
    assert predict(scan, "-o", out, "--model", bright_model, *wrong) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not out.exists()


def test_inputs_and_a_folder_for_results_are_required(tmp_path: Path, out: Path) -> None:
    assert predict("-o", out) == 2
    assert predict(write_scan(tmp_path / "a.nii.gz")) == 2


def test_an_unknown_model_is_one_line_that_lists_those_there_are(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = write_scan(tmp_path / "a.nii.gz")
    assert predict(scan, "-o", out, "--model", "nonesuch") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "'nonesuch'" in line


def test_a_place_that_cannot_be_written_to_is_an_error_and_not_a_traceback(
    bright_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = write_scan(tmp_path / "a.nii.gz")
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert predict(scan, "-o", blocked / "out", "--model", bright_model, "--device", "cpu") == 1
    assert "Traceback" not in capsys.readouterr().err


def test_an_interruption_has_its_own_exit_code_and_keeps_what_is_done(
    bright_model: Path, tmp_path: Path, out: Path
) -> None:
    scan = write_scan(tmp_path / "a.nii.gz")
    for index in range(200):
        os.link(scan, tmp_path / f"scan-{index:03}.nii.gz")
    command = [sys.executable, "-m", "strokelabel.cli.main", "predict", str(tmp_path / "scan-*.nii.gz")]
    command += ["-o", str(out), "--model", str(bright_model), "--device", "cpu", "--threads", "1"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run as a background job inherit an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (out / "predictions.csv").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted after" in err
    found = statuses(out)
    assert 0 < len(found) < 200
    assert set(found.values()) == {"done"}
    assert [path.name for path in out.glob(".*")] == [".predictions.csv.lock"]


def test_a_dicom_folder_gets_a_seg_that_is_no_scan_of_the_next_run(
    bright_model: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    affine = centred_affine(np.diag([-2.5, -2.5, 3.0]), SHAPE)
    image, _ = phantom(SHAPE, affine, (6.0, -9.0, 3.0), radius_mm=10)
    write_series(tmp_path / "scans" / "T2", image.data.astype(np.int16), affine)
    results = tmp_path / "scans" / "results"
    options = ("-o", results, "--model", bright_model, "--device", "cpu", "--dicom-seg", "--probabilities")
    for kept in (0, 1):
        assert predict(tmp_path / "scans", *options) == 0
        assert statuses(results) == {"T2": "done"}
        assert capsys.readouterr().out.count("kept from an earlier run") == kept
    grid = read_image(tmp_path / "scans" / "T2").grid
    mask = np.asarray(nib.load(results / "T2_lesion_mask.nii.gz").dataobj)
    assert mask.any()
    assert np.array_equal(read_dicom_seg(results / "T2_lesion_seg.dcm", grid).lesion_mask(), mask)
    assert (results / "T2_lesion_probability_seg.dcm").exists()

    scan = write_scan(tmp_path / "one.nii.gz")
    assert predict(scan, "-o", out, "--model", bright_model, "--device", "cpu", "--dicom-seg") == 1
    assert "expected a folder of DICOM files" in capsys.readouterr().err


def test_a_tag_that_no_seg_can_hold_costs_no_mask_and_is_named(
    bright_model: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    affine = centred_affine(np.diag([-2.5, -2.5, 3.0]), SHAPE)
    image, _ = phantom(SHAPE, affine, (6.0, -9.0, 3.0), radius_mm=10)
    for name, element, value in (("nameless", "PatientID", ""), ("odd", "PatientBirthDate", "19600000")):
        for path in write_series(tmp_path / "scans" / name, image.data.astype(np.int16), affine):
            header = pydicom.dcmread(path)
            setattr(header, element, value)
            header.save_as(path)
    options = ("-o", out, "--model", bright_model, "--device", "cpu", "--dicom-seg")
    assert predict(tmp_path / "scans", *options) == 1
    assert statuses(out) == {"nameless": "failed", "odd": "done"}
    messages = capsys.readouterr().err
    assert "no DICOM SEG, only nameless_lesion_mask.nii.gz" in messages
    assert "PatientID (0010,0020)" in messages and "PatientBirthDate (0010,0030) '19600000'" in messages
    assert np.asarray(nib.load(out / "nameless_lesion_mask.nii.gz").dataobj).any()
    assert (out / "odd_lesion_seg.dcm").exists() and not (out / "nameless_lesion_seg.dcm").exists()
