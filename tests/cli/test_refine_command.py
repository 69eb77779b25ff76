"""`strokelabel refine` corrects a mask file, or says in one line why not."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.cli.main import main
from strokelabel.metrics import dice
from support.bright_network import centred_affine, phantom
from support.turned_grids import ORIENTATION_IDS, ORIENTATIONS, reordered, shifted

SHAPE = (30, 26, 22)


@pytest.fixture
def scan(tmp_path: Path) -> tuple[Path, np.ndarray]:
    affine = centred_affine(np.diag([2.0, 2.0, 2.5]), SHAPE)
    image, ball = phantom(SHAPE, affine, (4.0, 2.0, 3.0))
    nib.save(nib.Nifti1Image(image.data, affine), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz", ball


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["refine", *map(str, arguments)])
    return int(stop.value.code or 0)


def test_a_click_makes_a_mask_and_another_removes_it(scan: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, ball = scan
    voxel = ",".join(str(round(x)) for x in np.argwhere(ball).mean(axis=0))
    output = tmp_path / "mask.nii.gz"
    assert command(path, "-o", output, "--lesion", voxel) == 0
    assert dice(ball, np.asarray(nib.load(output).dataobj)) > 0.7
    assert command(path, "-o", output, "--mask", output, "--remove", voxel) == 0
    assert not np.asarray(nib.load(output).dataobj).any()


@pytest.mark.parametrize("voxel", ["1,2", "a,b,c", "99,1,1"])
def test_a_voxel_that_is_none_is_wrong_usage(
    scan: tuple[Path, np.ndarray], tmp_path: Path, voxel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(scan[0], "-o", tmp_path / "mask.nii.gz", "--lesion", voxel) == 2
    assert capsys.readouterr().err.startswith("error: Expected a voxel")


def test_a_mask_on_another_grid_is_wrong_usage(
    scan: tuple[Path, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), np.eye(4)), tmp_path / "other.nii.gz")
    assert command(scan[0], "-o", tmp_path / "mask.nii.gz", "--mask", tmp_path / "other.nii.gz") == 2
    assert "expected the grid of" in capsys.readouterr().err


@pytest.mark.parametrize("turn", ORIENTATIONS, ids=ORIENTATION_IDS)
def test_a_mask_comes_back_from_all_48_orders_of_axes(
    scan: tuple[Path, np.ndarray], tmp_path: Path, turn: np.ndarray
) -> None:
    path, ball = scan
    ball[2:9, 3, 1:4] = True  # no flip or swap of axes leaves it as it is
    exact = nib.load(path).affine
    data, affine = reordered(ball.astype(np.uint8), np.round(exact, 4), turn)
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "turned.nii.gz")
    assert command(path, "-o", tmp_path / "mask.nii.gz", "--mask", tmp_path / "turned.nii.gz") == 0
    written = nib.load(tmp_path / "mask.nii.gz")
    assert np.array_equal(written.dataobj, ball) and np.array_equal(written.affine, exact)


@pytest.mark.parametrize("option", ["--mask", "--scribbles", "--kept", "--probability"])
def test_a_file_that_is_moved_by_whole_voxels_is_refused(
    scan: tuple[Path, np.ndarray], tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, ball = scan
    moved = shifted(nib.load(path).affine, 0, 4, 0)
    nib.save(nib.Nifti1Image(ball.astype(np.uint8), moved), tmp_path / "moved.nii.gz")
    assert command(path, "-o", tmp_path / "mask.nii.gz", option, tmp_path / "moved.nii.gz") == 2
    assert "begins (0, 4, 0) voxels away" in capsys.readouterr().err
