"""`strokelabel evaluate` as users call it: cohorts, parts, exit codes, streams, interruption."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from matplotlib.image import imread

from strokelabel.cli import main as cli
from support.evaluation_data import write_dataset, write_mask, write_predictions, write_scan

SAMPLE_DATA = Path(__file__).resolve().parents[2] / "sample-data"
WRITTEN = {"cases.csv", "summary.md", "summary.csv", "summary.tex", "tests.csv", "evaluation.json"}


def evaluate(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", *map(str, args)])
    return stop.value.code or 0


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path)


def test_the_shipped_model_and_masks_are_compared_on_the_sample_data(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = SAMPLE_DATA / "derivatives/simulated-truth"
    perfect = tmp_path / "perfect"
    for mask in truth.rglob("*.nii.gz"):
        perfect.mkdir(exist_ok=True)
        (perfect / mask.name).write_bytes(mask.read_bytes())
    code = evaluate(
        SAMPLE_DATA, "-o", out, "--model", "base", "--predictions", f"truth={perfect}", "--device", "cpu",
        "--threads", "1",
    )  # fmt: skip
    printed = capsys.readouterr()
    assert code == 0, printed.err
    rows = rows_of(out / "cases.csv")
    assert [(row["case"], row["group"], row["method"]) for row in rows] == [
        (case, case.split("_")[1], method)
        for case in ("sub-01_T1w", "sub-02_T2w", "sub-03_FLAIR")
        for method in ("base", "truth")
    ]
    assert [float(row["dice"]) for row in rows[1::2]] == [1, 1, 1]
    assert [float(row["hd95_mm"]) for row in rows[1::2]] == [0, 0, 0]
    assert [round(float(row["reference_ml"])) for row in rows[1::2]] == [85, 33, 12]  # as its README says
    assert all(0 < float(row["dice"]) < 1 for row in rows[::2])
    names = {path.name for path in out.iterdir()}
    assert (
        WRITTEN | {"worst-base.png", "worst-truth.png", "boxplot-dice.png", "boxplot-lesion-f1.png"} <= names
    )
    assert imread(out / "worst-base.png").std() > 0.05
    assert "| all | **" not in printed.out and "| T1w | truth | 1 | **1.000 / 1.000** |" in printed.out
    (test,) = [r for r in rows_of(out / "tests.csv") if (r["metric"], r["group"]) == ("dice", "all")]
    assert (test["first"], test["second"], test["n"]) == ("base", "truth", "3")
    assert json.loads((out / "evaluation.json").read_text())["methods"]["base"]["weights_sha256"]


def test_masks_in_folders_are_scored_and_compared(
    data: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    near = write_predictions(tmp_path / "near", shift_mm=2)
    far = write_predictions(tmp_path / "far", shift_mm=9)
    code = evaluate(
        data, "-o", out, "--predictions", near, "--predictions", f"distant={far}", "--suffix", "T1w"
    )
    assert code == 0
    assert capsys.readouterr().out.count("Dice 0.") == 4
    summary = {(r["method"], r["metric"]): float(r["median"]) for r in rows_of(out / "summary.csv")}
    assert summary["near", "dice"] > summary["distant", "dice"] > 0
    assert "near – distant" in (out / "summary.md").read_text()


def test_parts_of_a_cohort_run_by_themselves_and_are_merged(
    data: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = write_predictions(tmp_path / "masks")
    for part in ("1/3", "2/3", "3/3"):
        assert evaluate(data, "-o", out, "--predictions", masks, "--part", part) == 0
    assert not (out / "summary.md").exists()
    capsys.readouterr()
    assert evaluate(data, "-o", out, "--predictions", masks) == 0
    assert capsys.readouterr().out.count("(kept from an earlier run)") == 4
    assert len(rows_of(out / "cases.csv")) == 4
    assert (out / "summary.md").exists()


def test_one_bad_case_makes_the_exit_code_one_and_is_named_in_the_summary(
    data: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = write_predictions(tmp_path / "masks")
    (masks / "sub-01_T1w_pred.nii.gz").write_bytes(b"no image")
    write_mask(data / "derivatives/truth/sub-07/anat/sub-07_label-L_desc-T1wlesion_mask.nii.gz")
    assert evaluate(data, "-o", out, "--predictions", masks) == 1
    err = capsys.readouterr().err
    assert "error: sub-01_T1w, masks: " in err
    assert "sub-07_label-L_desc-T1wlesion_mask.nii.gz: expected a scan" in err
    assert "error: 1 of 4 results failed, 1 masks without a scan" in err
    summary = (out / "summary.md").read_text()
    assert "4 cases, 1 method, 1 failed." in summary
    assert "- sub-01_T1w, masks: " in summary


def test_a_table_of_cases_scores_its_columns_and_a_model_besides(
    bright_model: Path, out: Path, tmp_path: Path
) -> None:
    write_scan(tmp_path / "one/T2.nii.gz")
    write_mask(tmp_path / "one/truth.nii.gz")
    write_mask(tmp_path / "one/guess.nii.gz", radius_mm=8)
    table = tmp_path / "cases.tsv"
    table.write_text("image\treference\tprediction\none/T2.nii.gz\tone/truth.nii.gz\tone/guess.nii.gz\n")
    code = evaluate("--pairs", table, "-o", out, "--model", f"bright={bright_model}", "--device", "cpu")
    assert code == 0
    scores = {row["method"]: float(row["dice"]) for row in rows_of(out / "cases.csv")}
    assert set(scores) == {"prediction", "bright"}
    assert 0.5 < scores["prediction"] < 1
    assert scores["bright"] == 1
    assert (out / "predictions/bright/T2_lesion_mask.nii.gz").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "expected either a data set or a table"),
        (["DATA", "--pairs", "x.tsv"], "not both"),
        (["--pairs", "nowhere.tsv"], "nowhere.tsv: expected a table, which cannot be read"),
        (["DATA", "--part", "3/2"], "such as 2/8"),
        (["DATA", "--suffix", "bold"], "expected scans of bold"),
        (["DATA", "--share-masks"], "--suffix"),
        (["DATA", "--predictions", "nowhere"], "expected a folder of predictions"),
        (["DATA", "--model", "base", "--model", "base"], "different names"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_two(
    data: Path, out: Path, capsys: pytest.CaptureFixture[str], wrong: list[str], message: str
) -> None:
    assert evaluate(*[str(data) if word == "DATA" else word for word in wrong], "-o", out) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not out.exists()


def test_a_folder_without_masks_and_an_unknown_model_are_one_line_and_exit_code_one(
    data: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert evaluate(tmp_path / "empty", "-o", out) == 1
    assert "expected scans with lesion masks" in capsys.readouterr().err
    assert evaluate(data, "-o", out, "--model", "nonsense") == 1
    assert "error: Expected the name of a model" in capsys.readouterr().err


def test_ctrl_c_leaves_what_is_done_and_says_how_to_go_on(data: Path, out: Path, tmp_path: Path) -> None:
    masks = write_predictions(tmp_path / "masks", subjects=1)
    reference = write_mask(tmp_path / "truth.nii.gz")
    table = tmp_path / "cases.tsv"
    lines = [f"{reference}\t{masks}/sub-01_T1w_pred.nii.gz\tcase {index}" for index in range(500)]
    table.write_text("\n".join(["reference\tprediction\tname", *lines]))
    process = subprocess.Popen(
        [sys.executable, "-m", "strokelabel.cli.main", "evaluate", "--pairs", str(table), "-o", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run as a background job inherit an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (out / "cases.csv").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "of 500; run the same command to continue" in err
    assert 0 < len(rows_of(out / "cases.csv")) < 500
    assert not list(out.glob(".*"))
