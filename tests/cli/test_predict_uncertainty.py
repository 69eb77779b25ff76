"""`strokelabel predict --uncertainty` and `--ensemble` as users call them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from torch import nn

from strokelabel.cli import main as cli
from strokelabel.networks.unet import UNetConfig, build_network
from strokelabel.networks.weights import save_weights
from support.bright_network import make_spec
from support.session_data import GRIDS, affine_of, write_session
from support.sided_network import save_sided_model


def predict(*args: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["predict", *map(str, args), "--device", "cpu", "--threads", "1"])
    return stop.value.code or 0


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_session(tmp_path / "in", suffixes=("FLAIR",))[0]


@pytest.fixture(scope="module")
def dropping_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network that was described as trained with dropout."""
    config = UNetConfig(channels=(4, 4), strides=(2,), num_res_units=0, dropout=0.3)
    network = build_network(config)
    assert any(isinstance(layer, nn.Dropout3d | nn.Dropout) for layer in network.modules())
    path = tmp_path_factory.mktemp("dropping") / "dropping.safetensors"
    save_weights(path, network, make_spec(path=path, network=config.model_dump(mode="json")))
    return path


def test_maps_lie_beside_the_mask_on_the_scans_grid_and_say_how_they_were_made(
    bright_model: Path, scan: Path, out: Path
) -> None:
    asked = ("--uncertainty", "entropy", "--uncertainty", "variance", "--passes", "4")
    assert predict(scan, "-o", out, "--model", bright_model, *asked) == 0
    for name, units in (("entropy", "nats"), ("variance", "variance")):
        stem = f"sub-01_ses-1_space-orig_desc-FLAIR{name}_uncertainty"
        image, known = nib.load(out / f"{stem}.nii.gz"), json.loads((out / f"{stem}.json").read_text())
        assert image.shape == GRIDS["FLAIR"][0] and image.get_data_dtype() == np.float32
        np.testing.assert_allclose(image.affine, affine_of("FLAIR"), atol=1e-6)
        assert np.isfinite(image.get_fdata()).all() and image.get_fdata().min() >= 0
        assert known["passes_made"] == 4 and known["passes_differ_in"] == "flips"
        assert known["Sources"] == [str(scan)] and units in known["Units"]
    mask = json.loads((out / "sub-01_ses-1_space-orig_label-L_desc-FLAIRlesion_mask.json").read_text())
    assert mask["passes"] == {"method": "views", "count": 4} and mask["passes_made"] == 4


def test_results_are_kept_as_long_as_the_passes_are_the_same(
    bright_model: Path, scan: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = (scan, "-o", out, "--model", bright_model)
    for _ in range(2):
        assert predict(*common, "--uncertainty", "mutual-information") == 0
    assert "kept from an earlier run" in capsys.readouterr().out
    (out / "sub-01_ses-1_space-orig_desc-FLAIRmutualinformation_uncertainty.nii.gz").unlink()
    assert predict(*common, "--uncertainty", "mutual-information") == 0
    assert "kept from an earlier run" not in capsys.readouterr().out
    assert predict(*common) == 1  # the mask of one pass is another one, and would replace it
    assert "options" in capsys.readouterr().err


def test_maps_in_the_folder_of_the_scans_are_not_taken_for_scans(bright_model: Path, scan: Path) -> None:
    folder = scan.parent
    for _ in range(2):
        assert predict(folder, "-o", folder, "--model", bright_model, "--uncertainty", "entropy") == 0
    assert [Path(row["source"]).name for row in rows_of(folder / "predictions.csv")] == [scan.name]


def test_dropout_gives_maps_of_a_model_that_was_trained_so(
    dropping_model: Path, scan: Path, out: Path
) -> None:
    asked = ("--uncertainty", "mutual-information", "--uncertainty-method", "dropout", "--passes", "3")
    assert predict(scan, "-o", out, "--model", dropping_model, *asked) == 0
    stem = "sub-01_ses-1_space-orig_desc-FLAIRmutualinformation_uncertainty"
    known = json.loads((out / f"{stem}.json").read_text())
    assert (known["passes_differ_in"], known["passes_made"]) == ("dropout", 3)
    assert nib.load(out / f"{stem}.nii.gz").get_fdata().max() > 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--uncertainty", "entropy", "--uncertainty-method", "dropout"], "trained with dropout"),
        (["--uncertainty", "entropy", "--passes", "9"], "at most 8"),
        (["--uncertainty", "entropy", "--passes", "1"], "two passes"),
        (["--uncertainty", "entropy", "--tta"], "got both"),
        (["--passes", "4"], "--uncertainty"),
        (["--uncertainty-method", "flips"], "--uncertainty"),
    ],
)
def test_passes_that_make_no_sense_are_refused_before_anything_is_written(
    bright_model: Path,
    scan: Path,
    out: Path,
    wrong: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert predict(scan, "-o", out, "--model", bright_model, *wrong) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not list(out.glob("*.nii.gz"))


def test_a_parcellation_has_neither(
    scan: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "sided.safetensors"
    save_sided_model(model)
    assert predict(scan, "-o", out, "--model", model, "--ensemble", "--uncertainty", "entropy") == 2
    assert "--ensemble, --uncertainty" in capsys.readouterr().err


def test_the_sequences_of_a_session_are_predicted_together_beside_each_by_itself(
    bright_model: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = write_session(tmp_path / "in")
    common = (tmp_path / "in", "-o", out, "--model", bright_model)
    assert predict(*common) == 0
    for kept in (0, 3):
        capsys.readouterr()
        assert predict(*common, "--ensemble") == 0
        assert capsys.readouterr().out.count("kept from an earlier run") == kept
        rows = rows_of(out / "ensembles.csv")
        assert [row["status"] for row in rows] == ["done"] * 3
    assert [Path(row["source"]) for row in rows] == scans
    assert all((out / row["mask"]).exists() and "ensemblelesion_mask" in row["mask"] for row in rows)
    assert [row["status"] for row in rows_of(out / "predictions.csv")] == ["done"] * 3
