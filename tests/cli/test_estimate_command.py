"""`strokelabel estimate` as users call it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.cli import main as cli
from support.bright_network import centred_affine, phantom
from support.tiny_estimator import save_tiny_estimator


def estimate(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["estimate", *map(str, arguments), "--device", "cpu"])
    return int(stop.value.code or 0)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    shape = (30, 34, 26)
    image, _ = phantom(shape, centred_affine(np.diag([2.0, 2.0, 2.5]), shape), (5, 5, 5))
    path = tmp_path / "sub-01_T1w.nii.gz"
    nib.save(nib.Nifti1Image(image.data, image.affine), path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_estimator(tmp_path_factory.mktemp("estimator") / "e.safetensors")


def test_a_scan_becomes_four_maps_with_a_picture_which_are_replaced_only_when_asked(
    scan: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (scan, "-o", tmp_path / "maps", "--weights", weights, "--no-flips")
    assert estimate(*command) == 0

    stem = "sub-01_space-orig_desc-T1westimated"
    endings = ("PDmap", "R1map", "R2starmap", "MTsat")
    expected = {f"{stem}_{ending}.{kind}" for ending in endings for kind in ("nii.gz", "json")}
    files = {path.name for path in (tmp_path / "maps").iterdir() if path.name[0] != "."}
    assert files == expected | {"sub-01_T1w_maps.png", "estimates.csv"}
    assert f"{stem}_PDmap.nii.gz" in capsys.readouterr().out
    assert estimate(*command) == 0
    assert "kept from an earlier run" in capsys.readouterr().out
    other = save_tiny_estimator(tmp_path / "other.safetensors", seed=3)
    assert estimate(scan, "-o", tmp_path / "maps", "--weights", other, "--no-flips") == 1
    assert "or overwrite" in capsys.readouterr().err
    assert estimate(*command, "--overwrite") == 0


def test_a_broken_scan_does_not_stop_the_others(
    scan: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "sub-02_T1w.nii.gz"
    broken.write_bytes(b"no image")
    assert estimate(broken, scan, "-o", tmp_path / "maps", "--weights", weights, "--no-flips") == 1
    assert "sub-02_T1w.nii.gz" in capsys.readouterr().err
    assert (tmp_path / "maps" / "sub-01_T1w_maps.png").exists()


def test_a_segmenter_is_refused_in_one_line(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert estimate(scan, "-o", tmp_path / "maps", "--weights", "base") == 1
    printed = capsys.readouterr().err
    assert "expected a model that estimates quantitative maps" in printed
    assert printed.count("\n") == 1
