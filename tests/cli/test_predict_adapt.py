"""`strokelabel predict --adapt`: one scan or many, a report in each sidecar, and refusals that say what to do."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.inference.naming import ResultNames
from support.bright_network import centred_affine, phantom
from support.command_line import predict
from support.sided_network import save_sided_model
from support.tiny_denoiser import save_denoiser

SHAPE = (24, 30, 20)


def write_scan(path: Path, brightest: float = 240) -> Path:
    affine = centred_affine(np.diag([-2.5, 2.5, 3.0]), SHAPE)
    image, _ = phantom(SHAPE, affine, (6.0, -9.0, 3.0), radius_mm=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.minimum(image.data, brightest), affine), path)
    return path


def sidecar(folder: Path, stem: str) -> dict[str, object]:
    name = ResultNames(stem).mask.replace(".nii.gz", ".json")
    return json.loads((folder / name).read_text())


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_denoiser(tmp_path_factory.mktemp("denoiser") / "idle.safetensors")


@pytest.mark.parametrize("method", ["tent", "dae"])
def test_every_scan_of_a_folder_is_adapted_to_and_reported_on(
    bright_model: Path,
    denoiser: Path,
    tmp_path: Path,
    out: Path,
    method: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("one.nii.gz", "two.nii.gz"):
        write_scan(tmp_path / "scans" / name)
    more = ("--denoiser", denoiser) if method == "dae" else ()
    code = predict(
        tmp_path / "scans",
        "-o",
        out,
        "--model",
        bright_model,
        "--adapt",
        method,
        "--adapt-iterations",
        3,
        *more,
    )
    assert code == 0
    assert [row["status"] for row in rows(out)] == ["done", "done"]
    printed = capsys.readouterr().out
    for stem in ("one", "two"):
        written = sidecar(out, stem)
        report = written["adaptation"]
        assert isinstance(report, dict)
        assert (report["method"], report["iterations"]) == (method, 3)
        assert report["kept"] in {"adapted", "plain"} and report["reason"]
        assert f"    {method}: kept the {report['kept']} prediction, {report['reason']}" in printed
        for name in ("entropy_before", "entropy_after", "volume_before_ml", "volume_after_ml"):
            assert np.isfinite(report[name])
        settings = written["adaptation_options"]
        assert isinstance(settings, dict) and settings["method"] == method
        assert ("denoiser_sha256" in settings) == (method == "dae")
        kept = report["volume_after_ml" if report["kept"] == "adapted" else "volume_before_ml"]
        assert written["volume_ml"] == pytest.approx(kept, abs=1e-4)


def test_without_iterations_the_mask_is_the_plain_one(bright_model: Path, tmp_path: Path, out: Path) -> None:
    scan = write_scan(tmp_path / "one.nii.gz")
    predict(scan, "-o", out / "plain", "--model", bright_model, "--probabilities")
    predict(
        scan, "-o", out / "adapted", "--model", bright_model, "--probabilities",
        "--adapt", "tent", "--adapt-iterations", 0,
    )  # fmt: skip
    for name in (ResultNames("one").mask, ResultNames("one").probability):
        plain, adapted = (np.asarray(nib.load(out / run / name).dataobj) for run in ("plain", "adapted"))
        np.testing.assert_array_equal(plain, adapted)


def test_results_are_kept_for_the_same_adaptation_and_refused_for_another(
    bright_model: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = write_scan(tmp_path / "one.nii.gz")
    command = (scan, "-o", out, "--model", bright_model)
    adapted = (*command, "--adapt", "tent", "--adapt-iterations", 2)
    assert predict(*adapted) == 0
    assert predict(*adapted) == 0
    kept = rows(out)
    assert "kept from an earlier run" in capsys.readouterr().out and kept[0]["status"] == "done"
    for other in (command, (*command, "--adapt", "tent", "--adapt-iterations", 3)):
        assert predict(*other) == 1
        assert "another model, version or options" in capsys.readouterr().err
        assert rows(out) == kept
    assert predict(*command, "--overwrite") == 0
    assert "adaptation" not in sidecar(out, "one")
    assert predict(*adapted) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--adapt-iterations", "5"), "expected --adapt-iterations with --adapt alone"),
        (("--denoiser", "x"), "expected --denoiser with --adapt alone"),
        (("--adapt", "tent", "--denoiser", "x"), "expected --denoiser with --adapt dae alone"),
    ],
)
def test_what_makes_no_sense_is_refused(
    bright_model: Path,
    tmp_path: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    expected: str,
) -> None:
    scan = write_scan(tmp_path / "one.nii.gz")
    assert predict(scan, "-o", out, "--model", bright_model, *arguments) == 2
    assert expected in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_a_missing_denoiser_is_named_with_the_way_to_make_one(
    bright_model: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = write_scan(tmp_path / "one.nii.gz")
    assert predict(scan, "-o", out, "--model", bright_model, "--adapt", "dae", "--denoiser", "nowhere") == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "needs a denoising autoencoder" in told and "strokelabel train denoiser" in told
    assert not out.exists()


def test_a_denoiser_of_other_classes_is_refused(
    bright_model: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_denoiser(
        tmp_path / "other.safetensors",
        class_names=("background", "lesion"),
        network={"classes": 2, "channels": [2, 2, 2], "strides": [1, 1], "dropout": 0.0},
    )
    scan = write_scan(tmp_path / "one.nii.gz")
    code = predict(scan, "-o", out, "--model", bright_model, "--adapt", "dae", "--denoiser", other)
    assert code == 1
    assert "expected a denoiser of the model's classes" in " ".join(capsys.readouterr().err.split())


def test_a_parcellation_is_not_adapted(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_sided_model(tmp_path / "sided.safetensors")
    scan = write_scan(tmp_path / "one.nii.gz")
    assert predict(scan, "-o", out, "--model", model, "--adapt", "tent") == 2
    assert "--adapt" in capsys.readouterr().err
