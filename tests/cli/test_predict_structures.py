"""`strokelabel predict --structures`: tables of the structures that a lesion touches, and no change without them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.structures import parcellation_structures
from support.bright_network import centred_affine, phantom, rotation
from support.command_line import predict
from support.sided_network import save_sided_model

SHAPE = (24, 30, 20)


@pytest.fixture(scope="module")
def structures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sided_model(tmp_path_factory.mktemp("sided") / "sided.safetensors")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    affine = centred_affine(rotation((6, -4, 10)) @ np.diag([-2.5, 2.5, 3.0]), SHAPE)
    image, _ = phantom(SHAPE, affine, (6.0, -9.0, 3.0), radius_mm=10)
    nib.save(nib.Nifti1Image(image.data, affine), tmp_path / "sub-01_T1w.nii.gz")
    return tmp_path / "sub-01_T1w.nii.gz"


def rows_of(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


STEM = "sub-01_space-orig_label-L_desc-T1wlesion"


def test_a_table_beside_the_mask_sums_to_the_lesion_and_all_scans_have_a_row(
    bright_model: Path, structures: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(scan, "-o", out, "--model", bright_model, "--structures", structures) == 0

    table = rows_of(out / f"{STEM}_structures.tsv", "\t")
    (predicted,) = rows_of(out / "predictions.csv")
    (row,) = rows_of(out / "lesion_structures.csv")
    assert table[0]["structure"] == "left thalamus"
    assert table[0]["side"] == "left" and table[0]["region"] == "subcortical"
    total = sum(float(one["lesion_ml"]) for one in table)
    assert total == pytest.approx(float(predicted["volume_ml"]), abs=1e-3) and total > 1
    assert float(table[0]["lesion_percent_of_structure"]) == pytest.approx(
        100 * float(table[0]["lesion_ml"]) / float(table[0]["structure_ml"]), abs=0.01
    )
    assert (row["source"], row["mask"]) == (predicted["source"], predicted["mask"])
    assert float(row["left_ml"]) + float(row["outside_ml"]) == pytest.approx(total, abs=1e-3)
    assert float(row["lesion_percent_of_intracranial"]) == pytest.approx(
        100 * total / float(row["intracranial_ml"]), abs=0.01
    )
    units = json.loads((out / f"{STEM}_structures.json").read_text())
    assert units["lesion_ml"]["Units"] == "mL" and set(table[0]) <= set(units)
    sidecar = json.loads((out / f"{STEM}_mask.json").read_text())["lesion_structures"]
    assert sidecar["model"] == "sided" and sidecar["lesion_ml"] == pytest.approx(total, abs=1e-3)
    printed = capsys.readouterr().out
    assert "% of the intracranial volume" in printed and "    left thalamus " in printed

    assert predict(scan, "-o", out, "--model", bright_model, "--structures", structures) == 0
    again = capsys.readouterr().out
    assert "kept from an earlier run" in again and "    left thalamus " in again


def test_the_table_agrees_with_the_mask_and_the_parcellation_of_the_same_scan(
    bright_model: Path, structures: Path, scan: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict(scan, "-o", out, "--model", bright_model, "--structures", structures) == 0
    assert predict(scan, "-o", out, "--model", structures) == 0
    mask, labels = (
        nib.load(out / name)
        for name in (f"{STEM}_mask.nii.gz", "sub-01_space-orig_desc-T1wparcellation_dseg.nii.gz")
    )
    np.testing.assert_allclose(mask.affine, labels.affine)
    lesion, found = np.asarray(mask.dataobj) > 0, np.asarray(labels.dataobj)
    voxel_ml = 2.5 * 2.5 * 3.0 / 1000
    ids = {one.name: one.id for one in parcellation_structures()}
    for row in rows_of(out / f"{STEM}_structures.tsv", "\t"):
        inside = found == ids.get(row["structure"], 0)
        assert float(row["lesion_ml"]) == pytest.approx((inside & lesion).sum() * voxel_ml, abs=1e-3)


def test_a_slab_claims_no_share_of_what_it_does_not_show(
    bright_model: Path, structures: Path, scan: Path, tmp_path: Path
) -> None:
    whole = nib.load(scan)
    nib.save(whole.slicer[:, :, 7:14], tmp_path / "sub-02_dwi.nii.gz")
    out = tmp_path / "out"
    given = (tmp_path / "sub-02_dwi.nii.gz", "-o", out, "--model", bright_model, "--structures", structures)
    assert predict(*given) == 0
    (row,) = rows_of(out / "lesion_structures.csv")
    assert row["intracranial_ml"] == row["lesion_percent_of_intracranial"] == ""
    assert float(row["lesion_ml"]) > 1 and "cut off by the field of view" in row["notes"]
    (table,) = out.glob("*_structures.tsv")
    first = rows_of(table, "\t")[0]
    assert first["structure_ml"] == first["lesion_percent_of_structure"] == "n/a"
    assert float(first["lesion_ml"]) > 1


def test_tables_are_made_on_request_alone_by_the_installed_model_of_that_name(
    bright_model: Path,
    structures: Path,
    scan: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = tmp_path / "home/weights/synthseg/model.safetensors"
    installed.parent.mkdir(parents=True)
    shutil.copyfile(structures, installed)
    monkeypatch.setenv("STROKELABEL_HOME", str(tmp_path / "home"))
    for number, unasked in enumerate(((), ("--structures", "none"))):
        out = tmp_path / str(number)
        assert predict(scan, "-o", out, "--model", bright_model, *unasked) == 0
        assert not list(out.glob("*structures*"))
    # results without a table get one: the scan is done again
    assert predict(scan, "-o", out, "--model", bright_model, "--structures", "synthseg") == 0
    assert (out / f"{STEM}_structures.tsv").exists()
    (row,) = rows_of(out / "lesion_structures.csv")
    assert float(row["left_ml"]) > 0


def test_an_ensemble_has_tables_of_its_own(
    bright_model: Path,
    structures: Path,
    scan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copyfile(scan, tmp_path / "sub-01_T2w.nii.gz")
    out, given = tmp_path / "out", (scan, tmp_path / "sub-01_T2w.nii.gz")
    for _ in range(2):
        assert (
            predict(*given, "-o", out, "--model", bright_model, "--structures", structures, "--ensemble") == 0
        )
    rows = rows_of(out / "ensemble_structures.csv")
    assert len(rows) == 2 and all(float(row["lesion_ml"]) > 1 for row in rows)
    assert capsys.readouterr().out.count("kept from an earlier run") == 2
    assert (out / "sub-01_space-orig_label-L_desc-T1wensemblelesion_structures.tsv").exists()


def test_models_that_do_not_tell_what_lies_beneath_a_lesion_are_refused(
    bright_model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = (*(one.id for one in parcellation_structures()[:-1]), 99)
    with_lesion = save_sided_model(tmp_path / "lesion.safetensors", class_ids=ids)
    for model, said in (
        (with_lesion, "expected a parcellation that labels lesions as the structure beneath them"),
        (bright_model, "expected a model that parcellates, to find structures"),
    ):
        assert predict(scan, "-o", tmp_path / "out", "--model", bright_model, "--structures", model) == 2
        assert said in " ".join(capsys.readouterr().err.split())


def test_a_structures_model_that_is_not_there_is_wrong_usage_and_says_which_there_are(
    bright_model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in ("freesurfer", tmp_path / "missing.safetensors"):
        given = (scan, "-o", tmp_path / "out", "--model", bright_model, "--structures", wrong)
        assert predict(*given) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "expected --structures with a model for parcellation (synthseg" in said and str(wrong) in said
    assert not (tmp_path / "out").exists()


def test_the_intracranial_volume_of_the_table_is_that_of_the_parcellation(
    bright_model: Path, structures: Path, scan: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict(scan, "-o", out, "--model", bright_model, "--structures", structures) == 0
    assert predict(scan, "-o", out, "--model", structures) == 0
    (lesion,), (parcellation,) = rows_of(out / "lesion_structures.csv"), rows_of(out / "parcellations.csv")
    assert float(lesion["intracranial_ml"]) == pytest.approx(float(parcellation["intracranial_ml"]), abs=2e-3)


def test_a_scan_that_fails_later_has_no_row_of_structures_left(
    bright_model: Path, structures: Path, scan: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = (scan, "-o", out, "--model", bright_model, "--structures", structures, "--overwrite")
    assert predict(*given) == 0 and len(rows_of(out / "lesion_structures.csv")) == 1
    scan.write_bytes(b"no image")
    assert predict(*given) == 1
    assert rows_of(out / "predictions.csv")[0]["status"] == "failed"
    assert rows_of(out / "lesion_structures.csv") == []


def test_a_parcellation_itself_takes_no_structures(
    structures: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(scan, "-o", tmp_path / "out", "--model", structures, "--structures", structures) == 2
    assert "got --structures; leave them out" in " ".join(capsys.readouterr().err.split())
