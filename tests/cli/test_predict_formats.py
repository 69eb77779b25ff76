"""The same scan in any format, orientation or archive gives the same mask; series are listed and chosen."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.inference.options import PredictionOptions
from strokelabel.inference.segment.predictor import Predictor
from strokelabel.io import read_image
from support.bright_network import centred_affine, phantom, rotation
from support.command_line import predict, run
from support.dicom_writer import write_series
from support.image_formats import WRITERS
from support.turned_grids import ORIENTATIONS, reordered

SHAPE = (24, 30, 20)


def head(turn: tuple[float, float, float] = (11, 5, 4)) -> tuple[np.ndarray, np.ndarray]:
    """Even whole numbers, which DICOM's rescaled values can hold, on an oblique grid of unequal steps."""
    affine = centred_affine(rotation(turn) @ np.diag([2.5, 2.4, 3.0]), SHAPE)
    image, _ = phantom(SHAPE, affine, (6.0, -9.0, 3.0), radius_mm=10)
    return (2 * np.round(image.data / 2)).astype(np.int16), affine


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def mask_of(folder: Path, row: dict[str, str]) -> nib.Nifti1Image:
    return nib.load(folder / row["mask"])


@pytest.mark.parametrize("turn", [(11, 5, 4), (0, 0, 0)], ids=["oblique", "straight"])
def test_every_format_and_dicom_give_the_same_mask_voxel_for_voxel_on_each_ones_grid(
    bright_model: Path, tmp_path: Path, turn: tuple[float, float, float]
) -> None:
    data, affine = head(turn)
    for suffix, write in WRITERS.items():
        folder = tmp_path / "in" / suffix[1:].replace(".", "-")
        folder.mkdir(parents=True)
        write(folder / f"scan-{suffix[1:].replace('.', '-')}{suffix}", data, affine)
    write_series(tmp_path / "in" / "dicom", data, affine)
    assert predict(tmp_path / "in", "-o", tmp_path / "out", "--model", bright_model) == 0
    found = rows(tmp_path / "out")
    assert len(found) == len(WRITERS) + 1
    expected = None
    for row in found:
        mask = mask_of(tmp_path / "out", row)
        if expected is None:
            expected = np.asarray(mask.dataobj)
        assert np.array_equal(np.asarray(mask.dataobj), expected), row["source"]
        np.testing.assert_allclose(mask.affine, affine, atol=1e-3)
    assert expected is not None and 500 < expected.sum() * 18 < 8000  # mm³ of a ball of 10 mm


@pytest.mark.parametrize("number", [0, 7, 18, 29, 40, 47])
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mgz"])
def test_a_turned_scan_gets_the_turned_mask(
    bright_model: Path, tmp_path: Path, number: int, suffix: str
) -> None:
    data, affine = head()
    turn = ORIENTATIONS[number]
    predictor = Predictor.from_model(str(bright_model), "cpu", PredictionOptions())
    straight = predictor.predict(read_image(WRITERS[suffix](tmp_path / f"a{suffix}", data, affine)))
    turned = predictor.predict(
        read_image(WRITERS[suffix](tmp_path / f"b{suffix}", *reordered(data, affine, turn)))
    )
    expected, _ = reordered(np.asarray(straight.lesion_mask), affine, turn)
    assert straight.lesion_mask.any() and np.array_equal(turned.lesion_mask, expected)


def test_bids_names_stay_bids_names_and_others_are_kept_whatever_the_format(
    bright_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("sub-01_T1w.nrrd", "Brain scan.mha", "orig.mgz"):
        WRITERS[Path(name).suffix](tmp_path / "in" / name, *head())
    assert predict(tmp_path / "in", "-o", tmp_path / "out", "--model", bright_model) == 0
    assert {row["mask"] for row in rows(tmp_path / "out")} == {
        "sub-01_space-orig_label-L_desc-T1wlesion_mask.nii.gz",
        "Brain scan_lesion_mask.nii.gz",
        "orig_lesion_mask.nii.gz",
    }


def zipped(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder in which the files of two series are mixed, and one series with a folder of its own."""
    data, affine = head()
    for number, (name, place) in enumerate(
        {"T1 axial": "all", "FLAIR": "all", "T2": "other"}.items(), start=1
    ):
        files = write_series(tmp_path / "study" / place, data, affine, name)
        for file in files:
            _number(file, number)
    return tmp_path / "study"


def _number(file: Path, number: int) -> None:
    import pydicom

    dataset = pydicom.dcmread(file)
    dataset.SeriesNumber = number
    dataset.save_as(file)


@pytest.mark.parametrize("packed", [False, True])
def test_series_are_listed_chosen_or_all_predicted_with_a_row_each(
    bright_model: Path, tmp_path: Path, study: Path, capsys: pytest.CaptureFixture[str], packed: bool
) -> None:
    source = zipped(tmp_path / "study.zip", study) if packed else study
    assert run("series", source) == 0
    listed = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert {(n, name, files) for n, name, _, files, *_ in listed} == {
        ("1", "T1 axial", "20 files"), ("2", "FLAIR", "20 files"), ("3", "T2", "20 files"),
    }  # fmt: skip
    assert all(Path(line[-1]).is_relative_to(source) for line in listed)
    out = tmp_path / "out"
    assert predict(source, "-o", out, "--model", bright_model, "--series", "flair") == 0
    (only,) = rows(out)
    assert only["source"] == next(line[-1] for line in listed if line[1] == "FLAIR")
    capsys.readouterr()
    assert predict(source, "-o", out, "--model", bright_model) == 0
    assert capsys.readouterr().out.count("kept from an earlier run") == 1  # what --series had done
    found = rows(out)
    assert len({row["mask"] for row in found}) == 3 and {row["source"] for row in found} == {
        line[-1] for line in listed
    }
    assert {row["status"] for row in found} == {"done"}
    masks = [np.asarray(mask_of(out, row).dataobj) for row in found]
    assert masks[0].any() and np.array_equal(masks[0], masks[1]) and np.array_equal(masks[0], masks[2])


@pytest.mark.parametrize(
    ("names", "count"), [(["2"], 1), (["t1*"], 1), (["T*"], 2), (["1", "T2"], 2), (["1.2.3"], None)]
)
def test_a_series_is_called_by_number_description_or_pattern(
    bright_model: Path, tmp_path: Path, study: Path, names: list[str], count: int | None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given = [part for name in names for part in ("--series", name)]
    code = predict(study, "-o", tmp_path / "out", "--model", bright_model, *given)
    if count is None:
        said = capsys.readouterr().err
        assert code == 2 and all(name in said for name in ("1 T1 axial", "2 FLAIR", "3 T2"))
    else:
        assert code == 0 and len(rows(tmp_path / "out")) == count


def test_a_choice_of_series_leaves_other_scans_alone(bright_model: Path, tmp_path: Path, study: Path) -> None:
    WRITERS[".nrrd"](study / "scan.nrrd", *head())
    assert predict(study, "-o", tmp_path / "out", "--model", bright_model, "--series", "2") == 0
    assert sorted(Path(row["source"]).name for row in rows(tmp_path / "out"))[-1] == "scan.nrrd"
    assert len(rows(tmp_path / "out")) == 2


def test_one_file_of_a_series_stands_for_it(bright_model: Path, tmp_path: Path, study: Path) -> None:
    file = sorted((study / "other").iterdir())[3]
    assert predict(file, "-o", tmp_path / "out", "--model", bright_model) == 0
    (row,) = rows(tmp_path / "out")
    assert row["mask"] == f"{file.name}_lesion_mask.nii.gz" and mask_of(tmp_path / "out", row).shape == SHAPE


def test_an_archive_of_one_series_is_named_by_it_and_gets_its_dicom_seg(
    bright_model: Path, tmp_path: Path, study: Path
) -> None:
    archive = zipped(tmp_path / "export.zip", study / "other")
    out = tmp_path / "out"
    assert predict(archive, "-o", out, "--model", bright_model, "--dicom-seg") == 0
    (row,) = rows(out)
    assert row["mask"] == "export_lesion_mask.nii.gz" and (out / "export_lesion_seg.dcm").is_file()
    assert json.loads((out / "export_lesion_mask.json").read_text())["Sources"] == [str(archive)]


def test_no_series_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    WRITERS[".nrrd"](tmp_path / "scan.nrrd", *head())
    assert run("series", tmp_path) == 1
    assert "expected DICOM series, found none" in capsys.readouterr().err


def test_masks_of_other_formats_are_scored_and_refined(
    bright_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, affine = head()
    truth = np.zeros(SHAPE, np.uint8)
    truth[4:9, 11:15, 6:9] = 1
    WRITERS[".nii.gz"](tmp_path / "truth.nii.gz", truth, affine)
    lines = ["name\timage\treference\tprediction"]
    for suffix, write in WRITERS.items():
        name = suffix[1:].replace(".", "-")
        write(tmp_path / f"scan-{name}{suffix}", data, affine)
        write(tmp_path / f"mask-{name}{suffix}", truth, affine)
        lines.append(f"{name}\tscan-{name}{suffix}\ttruth.nii.gz\tmask-{name}{suffix}")
    (tmp_path / "pairs.tsv").write_text("\n".join(lines) + "\n")
    assert run("evaluate", "--pairs", tmp_path / "pairs.tsv", "-o", tmp_path / "scores") == 0
    with (tmp_path / "scores" / "cases.csv").open(newline="") as file:
        dice = {row["name" if "name" in row else "case"]: float(row["dice"]) for row in csv.DictReader(file)}
    assert len(dice) == len(WRITERS) and set(dice.values()) == {1.0}
    i, j, k = np.argwhere(truth)[0]
    code = run(
        "refine", tmp_path / "scan-nrrd.nrrd", "--mask", tmp_path / "mask-mgz.mgz", "-o", tmp_path / "fixed.nii.gz",
        "--remove", f"{i},{j},{k}",
    )  # fmt: skip
    assert code == 0
    assert np.asarray(nib.load(tmp_path / "fixed.nii.gz").dataobj).sum() < truth.sum()
