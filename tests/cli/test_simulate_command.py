"""`strokelabel simulate`: scans on the input's grid with BIDS sidecars, tables of pictures, and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from matplotlib.image import imread

from strokelabel.cli import main as cli
from strokelabel.physics import FastSpinEcho, Flair, GradientEcho, QuantitativeMaps, default_priors
from strokelabel.physics.field_strength import at_field

SHAPE = (14, 18, 11)
ANGLE = 0.2
AFFINE = np.array(
    [
        [0, 2.0 * np.cos(ANGLE), -2.5 * np.sin(ANGLE), -20],
        [-1.5, 0, 0, 12],
        [0, 2.0 * np.sin(ANGLE), 2.5 * np.cos(ANGLE), -7],
        [0, 0, 0, 1],
    ]
)
"""Oblique, axes in another order, voxels of unequal sides."""


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.Nifti1Image(data, affine).to_filename(path)
    return path


@pytest.fixture
def label_map(tmp_path: Path) -> Path:
    ids = np.zeros(SHAPE, np.int16)
    ids[2:12, 2:16, 2:9] = 511
    ids[3:11, 3:15, 3:8] = 24
    ids[4:10, 4:14, 3:8] = 3
    ids[5:9, 5:13, 4:7] = 2
    ids[6:8, 8:11, 5] = 4
    return save(tmp_path / "labels.nii.gz", ids)


@pytest.fixture
def map_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "maps"
    folder.mkdir()
    for name, low, high in (
        ("PD", 60, 100),
        ("R1", 0.5, 1.2),
        ("R2", 8, 15),
        ("R2star", 15, 30),
        ("MT", 0.5, 2),
    ):
        values = np.random.default_rng(len(name)).uniform(low, high, SHAPE).astype(np.float32)
        values[0, 0, 0] = np.nan
        save(folder / f"subject_{name}.nii.gz", values)
    return folder


def simulate(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(["simulate", *map(str, arguments)])
    return int(stop.value.code or 0)


def read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_a_label_map_becomes_a_scan_on_its_own_grid_with_a_sidecar(label_map: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "flair.nii.gz"

    assert simulate(label_map, "-o", out, "--sequence", "flair", "--te", 0.1, "--tr", 9, "--ti", 2.4) == 0

    scan = nib.load(out)
    np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-6)
    assert scan.shape == SHAPE and scan.get_data_dtype() == np.float32
    white = QuantitativeMaps.unstack(torch.tensor([default_priors().means("white")]), dim=1)
    expected = float(Flair(0.1, 9, 2.4).magnitude(white))
    values, ids = read(out), read(label_map)
    np.testing.assert_allclose(values[ids == 2], expected, rtol=1e-4)
    assert (values[ids == 0] == 0).all()
    sidecar = json.loads((tmp_path / "out" / "flair.json").read_text())
    assert (sidecar["EchoTime"], sidecar["RepetitionTime"], sidecar["InversionTime"]) == (0.1, 9.0, 2.4)
    assert sidecar["Sources"] == ["labels.nii.gz"]


def test_measured_maps_become_a_scan_and_what_a_fit_left_undefined_is_black(
    map_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t2.nii"

    assert simulate(map_folder, "-o", out, "--te", 0.08, "--tr", 3) == 0

    names = ("PD", "R1", "R2", "R2star", "MT")
    maps = [torch.from_numpy(np.nan_to_num(read(map_folder / f"subject_{n}.nii.gz"))) for n in names]
    expected = FastSpinEcho(0.08, 3.0).magnitude(QuantitativeMaps(*maps)).numpy()
    np.testing.assert_allclose(read(out), expected, rtol=1e-5)
    assert read(out)[0, 0, 0] == 0
    assert json.loads((tmp_path / "t2.json").read_text())["EchoTime"] == 0.08


def test_r2_is_guessed_where_there_is_no_such_map(map_folder: Path, tmp_path: Path) -> None:
    (map_folder / "subject_R2.nii.gz").unlink()
    assert simulate(map_folder, "-o", tmp_path / "t2.nii") == 0
    assert read(tmp_path / "t2.nii").max() > 1


def test_noise_and_subjects_follow_the_seed(label_map: Path, tmp_path: Path) -> None:
    for name, options in {"a": (1, 0.05), "b": (1, 0.05), "c": (2, 0.05), "d": (1, 0.0)}.items():
        assert (
            simulate(label_map, "-o", tmp_path / f"{name}.nii", "--seed", options[0], "--noise", options[1])
            == 0
        )
    a, b, c, d = (read(tmp_path / f"{name}.nii") for name in "abcd")
    np.testing.assert_array_equal(a, b)
    assert (a != c).any() and (d[0] == 0).all() and (a[0] > 0).all()


def test_fields_change_the_scan_where_they_are(label_map: Path, tmp_path: Path) -> None:
    field = np.ones(SHAPE, np.float32)
    field[:7] = 0.5
    path = save(tmp_path / "field.nii", field)
    plain, received = tmp_path / "plain.nii", tmp_path / "received.nii"
    assert simulate(label_map, "-o", plain, "--sequence", "gre") == 0
    assert simulate(label_map, "-o", received, "--sequence", "gre", "--receive", path) == 0
    np.testing.assert_allclose(read(received), read(plain) * field, rtol=1e-5)
    assert simulate(label_map, "-o", received, "--sequence", "gre", "--transmit", path) == 0
    assert (read(received)[7:] == read(plain)[7:]).all() and (read(received)[:7] != read(plain)[:7]).any()


def test_a_lesion_is_put_in_with_the_values_of_its_tissue(label_map: Path, tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:7, 5:8, 4:6] = 1
    path = save(tmp_path / "mask.nii.gz", mask)
    options = ("--lesion", path, "--lesion-tissue", "lesion-cavity")
    assert simulate(label_map, "-o", tmp_path / "t2.nii", *options) == 0
    values = read(tmp_path / "t2.nii")
    assert values[5, 5, 4] > 2 * values[8, 12, 6]
    assert json.loads((tmp_path / "t2.json").read_text())["LesionTissue"] == "lesion-cavity"


def test_tables_show_contrasts_sweeps_and_lesions(label_map: Path, tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:7, 5:8, 4:6] = 1
    lesion = save(tmp_path / "mask.nii.gz", mask)
    tables = {"all": (), "sweep": ("--sweep", "te=0.01,0.1,0.2"), "lesions": ("--lesion", lesion)}
    for name, options in tables.items():
        assert simulate(label_map, "--table", tmp_path / f"{name}.png", *options) == 0
    sizes = {name: imread(tmp_path / f"{name}.png").shape for name in tables}
    assert sizes["all"][1] > 2 * sizes["sweep"][1], "eight pictures in a row, and three"
    assert sizes["lesions"][0] > 4 * sizes["all"][0]
    assert 0.05 < imread(tmp_path / "all.png").mean() < 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected --output for a scan, or --table"),
        (("-o", "x.nii", "--te", "100"), "times are in seconds"),
        (("-o", "x.nii", "--sequence", "dwi"), "expected a sequence of fse, gre"),
        (("-o", "x.nii", "--flip-angle", "90"), "expected parameters of echo_time, repetition_time"),
        (("-o", "x.nii", "--sequence", "flair", "--ti", "1", "--ti", "2"), "expected --ti once"),
        (("-o", "x.nii", "--sequence", "mp2rage", "--ti", "1"), "expected --ti twice"),
        (("-o", "x.nii", "--lesion-tissue", "oedema"), "expected --lesion and --lesion-tissue together"),
        (("--table", "x.png", "--sweep", "te=short"), "--sweep: expected one of te, tr"),
        (("--table", "x.png", "--sweep", "colour=1"), "--sweep: expected one of te, tr"),
    ],
)
def test_wrong_options_are_one_line_and_exit_code_two(
    options: tuple[str, ...], message: str, label_map: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(label_map, *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_inputs_that_do_not_fit_are_one_line_and_exit_code_one(
    label_map: Path, map_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.nii"
    shifted = AFFINE.copy()
    shifted[0, 3] += 5
    other = save(tmp_path / "other.nii", np.ones(SHAPE, np.uint8), shifted)
    percent = save(
        tmp_path / "percent.nii", np.full(SHAPE, 100, np.float32) + np.eye(14, 18)[..., None].astype("f4")
    )
    unknown = save(tmp_path / "unknown.nii", np.full(SHAPE, 9999, np.int16))
    cases = {
        (tmp_path / "none.nii", "-o", out): "expected a file",
        (unknown, "-o", out): "unknown [9999]",
        (label_map, "-o", out, "--lesion", other, "--lesion-tissue", "oedema"): "expected the grid of",
        (label_map, "-o", out, "--receive", percent): "divide percentages by 100",
    }
    for arguments, message in cases.items():
        assert simulate(*arguments) == 1
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    for path in map_folder.glob("*_R1.nii.gz"):
        save(path, np.nan_to_num(read(path)) / 1000)
    assert simulate(map_folder, "-o", out) == 1
    assert "R1: expected 0.1 to 20 s^-1" in capsys.readouterr().err
    assert not out.exists()


def test_another_field_strength_changes_the_scan_and_is_written_beside_it(
    label_map: Path, tmp_path: Path
) -> None:
    out, ids = tmp_path / "gre.nii", read(label_map)
    maps = QuantitativeMaps.unstack(torch.tensor([default_priors().means("white")]), dim=1)
    for tesla in (3.0, 1.5):
        assert simulate(label_map, "-o", out, "--sequence", "gre", "--field", tesla) == 0
        expected = float(GradientEcho().magnitude(at_field(maps, tesla)))
        np.testing.assert_allclose(read(out)[ids == 2], expected, rtol=1e-4)
        assert json.loads((tmp_path / "gre.json").read_text())["MagneticFieldStrength"] == tesla
    assert simulate(label_map, "-o", out, "--field", 30) == 2
