"""`strokelabel outcome`: from a table and masks to scores, a model file, the lock box and an estimate."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from strokelabel.cli import main as cli
from strokelabel.outcome.models import CLASSIFICATION, REGRESSION
from strokelabel.outcome.networks import evaluation
from strokelabel.outcome.patients import OUTCOMES
from strokelabel.synthesis.prepared.icbm import icbm_template
from support.outcome_patients import write_cohort, write_mask


def run_main(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(arg) for arg in args])
    return int(stop.value.code or 0)


@pytest.fixture(autouse=True)
def _short_ladders(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ladder alone; tests of the models go through all others."""
    for table in (REGRESSION, CLASSIFICATION):
        monkeypatch.setitem(table, "nihss", table["nihss"][:3])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_cohort(tmp_path_factory.mktemp("outcome"), 40, OUTCOMES["nihss"])


@pytest.fixture(scope="module")
def model(data: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "nihss.safetensors"
    assert run_main("outcome", "fit", *data, "-o", path, "--model", "+ 31 arterial regions") == 0
    return path


def test_evaluate_writes_tables_predictions_and_a_picture(
    data: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("outcome", "evaluate", *data, "-o", tmp_path / "out", "--repeats", 2, "--seeds", 2) == 0

    printed = capsys.readouterr().out
    assert "| + 31 arterial regions | " in printed
    scores = pd.read_csv(tmp_path / "out" / "regression.csv")
    of_regions = scores[(scores.model == "+ 31 arterial regions") & (scores.score == "r_overall")]
    assert of_regions["value"].item() > 0.7
    assert set(scores["runs"]) == {20}
    classes = pd.read_csv(tmp_path / "out" / "classification.csv")
    assert set(classes["score"]) == {"accuracy", "balanced_accuracy", "auc", "f1", "calibration_error"}
    predictions = pd.read_csv(tmp_path / "out" / "predictions-regression.csv")
    assert predictions["participant_id"].is_unique
    assert len(predictions) == scores["n"][0] < 40
    assert (tmp_path / "out" / "outcome.png").stat().st_size > 10_000
    assert "Nadeau and Bengio" in (tmp_path / "out" / "summary.md").read_text()


def test_predict_estimates_one_patient_and_writes_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mask(tmp_path / "lesion.nii.gz", (60, 80, 60), np.ones((30, 25, 20), dtype=bool))

    assert (
        run_main(
            "outcome", "predict", model, tmp_path / "lesion.nii.gz", "--age", 61, "-o", tmp_path / "a.json"
        )
        == 0
    )

    said = capsys.readouterr().out
    assert said.startswith("estimated NIHSS ")
    assert "90% interval" in said
    assert "research use only" in said
    written = json.loads((tmp_path / "a.json").read_text())
    assert 0 <= written["low"] <= written["value"] <= written["high"] <= 42
    assert written["use"] == "research"


def test_predict_without_the_age_is_wrong_usage(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mask(tmp_path / "lesion.nii.gz", (60, 80, 60), np.ones((30, 25, 20), dtype=bool))

    assert run_main("outcome", "predict", model, tmp_path / "lesion.nii.gz") == 2
    assert "expected the age in years" in capsys.readouterr().err


def test_the_lock_box_opens_once_and_then_all_patients_may_be_evaluated(
    data: tuple[Path, Path], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record.json"
    everyone = [
        "outcome",
        "evaluate",
        *data,
        "-o",
        tmp_path / "all",
        "--repeats",
        1,
        "--seeds",
        0,
        "--opened",
        record,
    ]
    assert run_main(*everyone) == 1
    assert "lock box of nihss" in capsys.readouterr().err

    assert run_main("outcome", "open-lock-box", model, *data, "--record", record) == 0
    first = capsys.readouterr()
    assert "coverage: " in first.out
    assert run_main("outcome", "open-lock-box", model, *data, "--record", record) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "opened before" in again.err

    other = tmp_path / "other.safetensors"
    assert run_main("outcome", "fit", *data, "-o", other, "--model", "lesion size") == 0
    assert run_main("outcome", "open-lock-box", other, *data, "--record", record) == 1
    assert "opened on" in capsys.readouterr().err

    assert run_main(*everyone) == 0
    assert set(pd.read_csv(tmp_path / "all" / "regression.csv")["n"]) == {40}


def test_evaluate_with_networks_shows_them_in_the_table_and_goes_on_from_its_folder(
    data: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "NETWORKS", evaluation.NETWORKS[1:3])
    args = ["outcome", "evaluate", *data, "-o", tmp_path / "out", "--repeats", 1, "--seeds", 2, "--networks"]

    assert run_main(*args, "--network-seeds", 1) == 0

    printed = capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "out" / "classification.csv").drop_duplicates("model").set_index("model")
    assert rows["runs"].to_dict() == {
        "lesion size": 8, "+ age": 8, "+ 31 arterial regions": 8,
        "light CNN, regions and symbols": 4, "ResNet-18, regions and symbols": 4,
    }  # fmt: skip
    assert "| ResNet-18, regions and symbols | " in printed
    predictions = pd.read_csv(tmp_path / "out" / "predictions-classification.csv")
    assert predictions["ResNet-18, regions and symbols"].between(0, 1).all()
    assert (tmp_path / "out" / "networks.png").stat().st_size > 10_000
    assert len(list((tmp_path / "out" / "networks").glob("*.npy"))) == 2
    monkeypatch.setattr(evaluation, "fit_network", lambda *args: pytest.fail("trained again"))
    assert run_main(*args, "--network-seeds", 1) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--slices", "folder"], "expected --networks with"),
        (["--networks", "--seeds", "0"], "with a classification"),
        (["--networks", "--outcome", "language"], "with a classification"),
    ],
)
def test_options_of_networks_without_networks_are_wrong_usage(
    data: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    assert run_main("outcome", "evaluate", *data, "-o", tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_explain_writes_maps_in_icbm_space_pictures_and_numbers(
    data: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "maps"

    assert (
        run_main(
            *("outcome", "explain", *data, "-o", out, "--permutations", 99, "--saliency-permutations", 0),
            *("--planted", "insula, left"),
        )
        == 0
    )

    assert "lesion-symptom map of planted damage: insula, left: " in capsys.readouterr().out
    numbers = json.loads((out / "explanation.json").read_text())
    assert numbers["patients"]["n"] < 40
    assert numbers["symptom-map"]["permutations"] == 99
    assert 0 < numbers["symptom-map"]["p"] <= 1
    assert numbers["saliency"]["p"] is None
    assert 0 <= numbers["saliency"]["share_of_all_within_18_mm"] <= 1
    for name in ("symptom-map", "saliency"):
        image = nib.load(out / f"{name}.nii.gz")
        assert image.shape == icbm_template().shape
        assert np.array_equal(image.affine, icbm_template().affine)
        assert int(image.header["sform_code"]) == 4
        assert set(np.unique(nib.load(out / f"{name}_significant.nii.gz").dataobj)) <= {0, 1}
        assert (out / f"{name}.png").stat().st_size > 10_000


def test_explain_refuses_what_cannot_be_tested_before_any_work(
    data: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    explain = ["outcome", "explain", *data, "-o", tmp_path / "maps"]

    assert run_main(*explain, "--saliency-permutations", 5) == 2
    assert "0, or of 19 or more" in capsys.readouterr().err
    assert run_main(*explain, "--planted", "Broca") == 2
    assert "expected one of the regions precentral gyrus, left" in capsys.readouterr().err
    assert run_main(*explain, "--permutations", 10) == 2
    assert not (tmp_path / "maps").exists()


def test_errors_are_one_line(
    data: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, masks = data

    assert run_main("outcome", "evaluate", table, tmp_path, "-o", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert run_main("outcome", "evaluate", table, masks, "-o", tmp_path / "out", "--outcome", "mrs") == 2


def test_help_names_the_commands_and_the_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("outcome", "--help") == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("evaluate", "fit", "open-lock-box", "predict", "explain"))
    assert "For research" in said
