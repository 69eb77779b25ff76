"""`strokelabel predict` with weights for parcellation."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelabel.structures import parcellation_structures
from support.bright_network import centred_affine, phantom
from support.command_line import predict
from support.sided_network import save_sided_model

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


def test_structures_and_volumes_are_written_and_no_lesion_is_claimed(
    model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(scan, "-o", out, "--model", model) == 0
    assert sorted(path.name for path in out.iterdir() if path.name[0] != ".") == [
        "parcellations.csv",
        "scan_parcellation_dseg.json",
        "scan_parcellation_dseg.nii.gz",
        "scan_parcellation_dseg.tsv",
        "scan_parcellation_volumes.tsv",
        "volumes.csv",
    ]
    printed = capsys.readouterr()
    assert "scan.nii: " in printed.out and " ml intracranial volume, " in printed.out
    assert "lesion" not in printed.out + printed.err
    with (out / "parcellations.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["segmentation"], row["status"]) == ("scan_parcellation_dseg.nii.gz", "done")

    with (out / "volumes.csv").open(newline="") as file:
        (volumes,) = csv.DictReader(file)
    assert volumes["source"] == row["source"] and len(volumes) == 34
    assert float(volumes["total_intracranial_ml"]) == pytest.approx(float(row["intracranial_ml"]), abs=1e-3)
    assert float(volumes["left_thalamus_ml"]) > 1 and float(volumes["3rd_ventricle_ml"]) < 0.1

    (out / "volumes.csv").unlink()
    assert predict(scan, "-o", out, "--model", model) == 0
    assert "(kept from an earlier run)" in capsys.readouterr().out
    with (out / "volumes.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [volumes]


def test_probabilities_of_all_structures_lie_on_the_scans_grid_and_decide_its_segmentation(
    model: Path, scan: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for _ in range(2):  # with other files, an earlier result is not complete
        assert predict(scan, "-o", out, "--model", model, "--probabilities") == 0
    written = nib.load(out / "scan_parcellation_probseg.nii.gz")
    probabilities, labels = written.get_fdata(), nib.load(out / "scan_parcellation_dseg.nii.gz")
    assert probabilities.shape == (*SHAPE, 33) and written.get_data_dtype() == np.float32
    np.testing.assert_array_equal(written.affine, nib.load(scan).affine)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-4)
    names = json.loads((out / "scan_parcellation_probseg.json").read_text())["LabelMap"]
    ids = {one.name: one.id for one in parcellation_structures()}
    found = np.array([ids[name] for name in names])[probabilities.argmax(axis=-1)]
    np.testing.assert_array_equal(found, np.asarray(labels.dataobj))
    with (out / "volumes.csv").open(newline="") as file:
        (volumes,) = csv.DictReader(file)
    voxel_ml = 2.5 * 2.5 * 3.0 / 1000
    thalamus = probabilities[..., names.index("left thalamus")].sum() * voxel_ml
    assert float(volumes["left_thalamus_ml"]) == pytest.approx(thalamus, rel=1e-3)


def test_the_scan_and_its_structures_at_the_models_voxel_size_lie_where_the_scan_lies(
    model: Path, scan: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict(scan, "-o", out, "--model", model, "--resampled") == 0
    image, labels = (nib.load(out / f"scan_resampled{name}.nii.gz") for name in ("", "_parcellation_dseg"))
    original, own = nib.load(scan), nib.load(out / "scan_parcellation_dseg.nii.gz")
    np.testing.assert_allclose(image.header.get_zooms(), 2, rtol=1e-5)
    np.testing.assert_array_equal(image.affine, labels.affine)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")

    def middle(volume: nib.Nifti1Image, wanted: np.ndarray) -> np.ndarray:
        return nib.affines.apply_affine(volume.affine, np.argwhere(wanted).mean(axis=0))

    for one, other, select in ((image, original, lambda v: v > 200), (labels, own, lambda v: v == 10)):
        np.testing.assert_allclose(
            middle(one, select(one.get_fdata())), middle(other, select(other.get_fdata())), atol=0.5
        )


def test_resampled_files_of_a_model_that_segments_are_refused(
    bright_model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(scan, "-o", tmp_path / "out", "--model", bright_model, "--resampled") == 2
    assert "expected --resampled with a model for parcellation alone" in " ".join(
        capsys.readouterr().err.split()
    )


def test_options_about_lesions_are_refused_by_name(
    model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(scan, "-o", out, "--model", model, "--threshold", "0.5", "--fill-holes") == 2
    assert "got --threshold, --fill-holes; leave them out" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_a_failure_is_one_line_and_exit_code_one(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.nii").write_bytes(b"not an image")
    assert predict(tmp_path / "broken.nii", "-o", tmp_path / "out", "--model", model) == 1
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
