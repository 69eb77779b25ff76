"""`strokelabel predict --qc`: a table of predicted Dice, and a warning where one is low."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel import registry
from strokelabel.structures import QUALITY_GROUPS
from support.bright_network import centred_affine, phantom
from support.command_line import predict
from support.sided_network import save_sided_model
from support.tiny_quality import save_quality_model

SHAPE = (24, 30, 20)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sided_model(tmp_path_factory.mktemp("sided") / "sided.safetensors")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    affine = centred_affine(np.diag([-2.5, 2.5, 3.0]), SHAPE)
    image, _ = phantom(SHAPE, affine, (6.0, -9.0, 3.0), radius_mm=10)
    nib.save(nib.Nifti1Image(image.data, affine), tmp_path / "scan.nii")
    return tmp_path / "scan.nii"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models, still empty."""
    monkeypatch.setenv("STROKELABEL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def install(home: Path, bias: float, version: str = "1") -> None:
    save_quality_model(home / "weights" / "synthseg-quality" / "model.safetensors", bias, version=version)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_low_dice_are_in_the_table_the_sidecar_and_a_warning(
    model: Path, scan: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(home, bias=-40.0)
    out = tmp_path / "out"
    assert predict(scan, "-o", out, "--model", model, "--qc") == 0
    (row,) = rows(out / "quality.csv")
    assert row.pop("source") == str(scan)
    assert list(row) == [f"{name.replace(' ', '_')}_dice" for name in QUALITY_GROUPS]
    assert all(float(value) < 0.1 for value in row.values())
    sidecar = json.loads((out / "scan_parcellation_dseg.json").read_text())
    assert list(sidecar["quality"]["predicted_dice"]) == list(QUALITY_GROUPS)
    assert sidecar["quality"]["model"] == "synthseg-quality"
    warning = "the predicted Dice is below 0.65 for general white matter (0.00), general gray matter"
    assert any(warning in note for note in sidecar["notes"])
    printed = capsys.readouterr()
    assert warning in printed.err
    assert "    predicted Dice: general white matter 0.00, general gray matter 0.00, " in printed.out
    assert warning in rows(out / "parcellations.csv")[0]["reason"]


def test_high_dice_are_in_the_table_without_a_warning(
    model: Path, scan: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(home, bias=40.0)
    assert predict(scan, "-o", tmp_path / "out", "--model", model, "--qc") == 0
    assert "predicted Dice" not in capsys.readouterr().err
    (row,) = rows(tmp_path / "out" / "quality.csv")
    assert float(row["hippocampus+amygdala_dice"]) > 0.9


def test_results_without_dice_are_made_again_and_those_with_them_kept(
    model: Path, scan: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(home, bias=0.0)
    out = tmp_path / "out"
    kept = []
    for options in ([], ["--qc"], ["--qc"], []):
        assert predict(scan, "-o", out, "--model", model, *options) == 0
        kept.append("kept from an earlier run" in capsys.readouterr().out)
    assert kept == [False, False, True, True]
    (first,) = rows(out / "quality.csv")
    (out / "quality.csv").unlink()
    assert predict(scan, "-o", out, "--model", model, "--qc") == 0
    assert rows(out / "quality.csv") == [first]
    install(home, bias=0.0, version="2")
    assert predict(scan, "-o", out, "--model", model, "--qc") == 0
    assert "kept" not in capsys.readouterr().out.splitlines()[-1]


def test_dice_of_an_earlier_run_are_printed_again(
    model: Path, scan: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(home, bias=40.0)
    for _ in range(2):
        assert predict(scan, "-o", tmp_path / "out", "--model", model, "--qc") == 0
        assert "    predicted Dice: general white matter 1.00" in capsys.readouterr().out


def test_a_scan_that_fails_later_leaves_no_row_in_the_tables_of_dice_and_volumes(
    model: Path, scan: Path, home: Path, tmp_path: Path
) -> None:
    install(home, bias=0.0)
    other = scan.with_name("other.nii")
    other.write_bytes(scan.read_bytes())
    out = tmp_path / "out"
    assert predict(scan, other, "-o", out, "--model", model, "--qc", "--overwrite") == 0
    scan.write_bytes(b"no image")
    assert predict(scan, other, "-o", out, "--model", model, "--qc", "--overwrite") == 1
    assert {row["status"] for row in rows(out / "parcellations.csv")} == {"failed", "done"}
    for name in ("quality.csv", "volumes.csv"):
        assert [row["source"] for row in rows(out / name)] == [str(other)]


def test_without_the_model_nothing_is_predicted_and_the_error_says_how_to_train_one(
    model: Path,
    scan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "_registered", dict)  # as if no weights came along
    assert predict(scan, "-o", tmp_path / "out", "--model", model, "--qc") == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "Quality control needs the model 'synthseg-quality'" in told
    assert "`strokelabel train synthseg-quality`" in told
    assert not (tmp_path / "out").exists()


def test_quality_control_of_lesions_and_of_other_structures_is_refused(
    bright_model: Path, scan: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(home, bias=0.0)
    assert predict(scan, "-o", tmp_path / "out", "--model", bright_model, "--qc") == 2
    assert "expected --qc with a model for parcellation alone" in " ".join(capsys.readouterr().err.split())
    ids = (0, *range(300, 332))
    table = [{"index": number, "name": f"organ {number}"} for number in ids[1:]]
    own = save_sided_model(tmp_path / "own.safetensors", class_ids=ids, recipe={"structure_table": table})
    assert predict(scan, "-o", tmp_path / "out", "--model", own, "--qc") == 1
    assert "this one has others (organ 300, organ 301, organ 302); leave --qc out" in " ".join(
        capsys.readouterr().err.split()
    )
